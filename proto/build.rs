//! Compiles the contract with protox, so that no protoc is needed. Nothing generated is in git.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

#[allow(clippy::disallowed_methods)] // how cargo tells a build script where to write
fn main() -> Result<(), Box<dyn Error>> {
    let areas = ["inference", "auth", "ratelimit", "cache", "adapter", "status"];
    let mut files: Vec<_> = areas.map(|area| format!("penstock/{area}/v1/{area}.proto")).into();
    files.extend(
        [
            "penstock/inference/v1/responses.proto",
            "penstock/inference/v1/stored.proto",
            "penstock/cache/v1/objects.proto",
            "penstock/router/v1/routing.proto",
        ]
        .map(str::to_owned),
    );
    println!("cargo:rerun-if-changed=penstock");
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("penstock.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".penstock.cache.v1.EntryKey.fingerprint")
        .bytes(".penstock.cache.v1.Object.content")
        // Messages that carry secrets must not be printable: see `secrets.rs`.
        .skip_debug(
            ["AuthenticateRequest", "CreateResponse", "RotateResponse"]
                .map(|m| format!("penstock.auth.v1.{m}")),
        )
        // Nor those that are prompts and answers and nothing else.
        .skip_debug(["penstock.cache.v1.Object"])
        .skip_debug(
            ["StoredCompletion", "StoredMessage", "StoredResponse", "MetadataPair"]
                .map(|m| format!("penstock.inference.v1.{m}")),
        )
        .compile_fds(descriptors)?;
    Ok(())
}
