//! Tables of arguments and what becomes of them.

use super::*;

fn parsed(line: &[&str]) -> Result<Request, Refusal> {
    parse(line.iter().map(OsString::from).collect())
}

fn flags(line: &[&str]) -> Flags {
    match parsed(line) {
        Ok(Request::Probe(flags)) => *flags,
        other => panic!("{line:?}: {other:?}"),
    }
}

fn refused(line: &[&str]) -> String {
    parsed(line).expect_err(&format!("{line:?}")).to_string()
}

#[test]
fn defaults() {
    let expected = Flags {
        addr: ":4000".to_owned(),
        service: String::new(),
        connect_timeout: Duration::from_secs(1),
        rpc_timeout: Duration::from_secs(1),
        user_agent: "grpc_health_probe".to_owned(),
        rpc_headers: vec![],
        verbose: false,
        tls: None,
    };
    assert_eq!(flags(&["-addr=:4000"]), expected);
}

#[test]
fn one_dash_or_two_and_values_in_either_place() {
    let expected = flags(&["-addr=:4000", "-service=a", "-v"]);
    for line in [
        &["--addr=:4000", "--service=a", "--v"][..],
        &["-addr", ":4000", "-service", "a", "-v=true"],
        &["--addr", ":4000", "--service", "a", "-v=1"],
        &["-v=T", "-service=b", "-service=a", "-addr=:4000"],
    ] {
        assert_eq!(flags(line), expected, "{line:?}");
    }
    assert!(!flags(&["-addr=:4000", "-v", "-v=false"]).verbose);
}

#[test]
fn values_are_taken_as_they_are() {
    let flags = flags(&[
        "-addr=:1",
        "-service",
        "-v",
        "-connect-timeout=250ms",
        "-rpc-timeout",
        "1m30s",
        "-user-agent=a=b",
        "-rpc-header=X-One: 1:2",
        "-rpc-header",
        "two:  2",
    ]);
    assert_eq!(flags.service, "-v", "a value may look like a flag, as in Go");
    assert!(!flags.verbose);
    assert_eq!(
        (flags.connect_timeout, flags.rpc_timeout),
        (Duration::from_millis(250), Duration::from_secs(90))
    );
    assert_eq!(flags.user_agent, "a=b");
    let headers = [("x-one", "1:2"), ("two", "2")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(flags.rpc_headers, headers);
}

#[test]
fn tls_flags() {
    let with = flags(&["-addr=:1", "-tls", "-tls-ca-cert=ca", "-tls-client-cert=c", "-tls-client-key=k"]).tls;
    let expected = Tls {
        ca_cert: "ca".to_owned(),
        client_cert: "c".to_owned(),
        client_key: "k".to_owned(),
        ..Tls::default()
    };
    assert_eq!(with, Some(expected));
    let expected = Tls { no_verify: true, ..Tls::default() };
    assert_eq!(flags(&["-addr=:1", "-tls", "-tls-no-verify"]).tls, Some(expected));
    assert_eq!(flags(&["-addr=:1", "-tls=false"]).tls, None);
}

#[test]
fn contradictions_are_refused_in_the_words_of_the_original() {
    let table: [(&[&str], &str); 15] = [
        (&[], "error: -addr not specified"),
        (&["-connect-timeout=0s"], "error: -connect-timeout must be greater than zero (specified: 0s)"),
        (&["-rpc-timeout=0"], "error: -rpc-timeout must be greater than zero (specified: 0s)"),
        (&["-rpc-timeout=-1s"], "error: -rpc-timeout must be greater than zero (specified: -1s)"),
        (&["-tls-no-verify"], "error: specified -tls-no-verify without specifying -tls"),
        (&["-tls-ca-cert=x"], "error: specified -tls-ca-cert without specifying -tls"),
        (&["-tls-client-cert=x"], "error: specified -tls-client-cert without specifying -tls"),
        (&["-tls-client-key=x"], "error: specified -tls-client-key without specifying -tls"),
        (&["-tls-server-name=x"], "error: specified -tls-server-name without specifying -tls"),
        (
            &["-tls", "-tls-client-cert=x"],
            "error: specified -tls-client-cert without specifying -tls-client-key",
        ),
        (
            &["-tls", "-tls-client-key=x"],
            "error: specified -tls-client-key without specifying -tls-client-cert",
        ),
        (
            &["-tls", "-tls-no-verify", "-tls-ca-cert=x"],
            "error: cannot specify -tls-ca-cert with -tls-no-verify (CA cert would not be used)",
        ),
        (
            &["-tls", "-tls-no-verify", "-tls-server-name=x"],
            "error: cannot specify -tls-server-name with -tls-no-verify (server name would not be used)",
        ),
        (&["-alts"], "error: -alts is not supported by this probe: it needs Google Cloud"),
        (&["-gzip"], "error: -gzip is not supported by this probe: health answers are a few bytes"),
    ];
    for (line, message) in table {
        let mut whole = line.to_vec();
        if !line.is_empty() {
            whole.push("-addr=:1");
        }
        assert_eq!(refused(&whole), message, "{line:?}");
    }
    assert!(refused(&["-addr=:1", "-spiffe"]).starts_with("error: -spiffe is not supported"));
    assert!(parsed(&["-addr=:1", "-gzip=false", "-alts=false", "-spiffe=0"]).is_ok());
}

#[test]
fn mistakes_of_syntax() {
    let table: [(&[&str], &str); 11] = [
        (&["-adr=:1"], "flag provided but not defined: -adr"),
        (&["-addr"], "flag needs an argument: -addr"),
        (&["---addr=:1"], "bad flag syntax: ---addr=:1"),
        (&["-"], "bad flag syntax: -"),
        (&["--"], "bad flag syntax: --"),
        (&["-=x"], "bad flag syntax: -=x"),
        (&["-addr=:1", "more"], "unexpected argument: more"),
        (&["-v", "true"], "unexpected argument: true"),
        (&["-v=yes"], "invalid boolean value \"yes\" for -v: parse error"),
        (&["-rpc-timeout=1"], "invalid value \"1\" for flag -rpc-timeout: parse error"),
        (
            &["-rpc-header=secret"],
            "invalid value for flag -rpc-header: invalid RPC header, expected 'key: value'",
        ),
    ];
    for (line, message) in table {
        assert_eq!(refused(line), message, "{line:?}");
        assert!(matches!(parsed(line), Err(Refusal::Syntax(_))), "{line:?}");
    }
}

#[test]
fn help_and_version_need_no_address() {
    for line in ["-h", "-help", "--help"] {
        assert_eq!(parsed(&[line]), Err(Refusal::Help));
    }
    assert_eq!(parsed(&["-version"]), Ok(Request::Version));
    assert_eq!(refused(&["-version=false"]), "error: -addr not specified");
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf8() {
    use std::os::unix::ffi::OsStringExt as _;
    let argument = OsString::from_vec(b"-addr=\xff".to_vec());
    assert_eq!(parse(vec![argument]), Err(Refusal::Syntax("an argument is not UTF-8".to_owned())));
}
