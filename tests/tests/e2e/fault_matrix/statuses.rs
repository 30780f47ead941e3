//! What an engine says by its status: refusals of its own, and of the request (D2 to D4, D8, D12).

use std::time::Duration;

use penstock_tests::{ENGINE_CANARY, Script};
use serde_json::json;

use super::fault::{Case, Fault, Sees, WHOLE};

fn status(name: &'static str, status: u16, case: Case) -> Fault {
    Fault::new(name, move |_, _| Script::status(status), case)
}

/// A status that says by `Retry-After` how long to wait.
fn waiting(name: &'static str, status: u16, seconds: &'static str) -> Fault {
    let case = Case::lost(503, &["engine_overloaded"]).again();
    Fault {
        retry_after: Some(1),
        ..Fault::new(name, move |_, _| Script::status_with(status, &[("retry-after", seconds)], "{}"), case)
    }
}

/// A status with an error of this code.
fn coded(name: &'static str, status: u16, code: &'static str, case: Case) -> Fault {
    let error = json!({"error": {"message": format!("{ENGINE_CANARY} no"), "type": "x", "code": code}});
    Fault::new(name, move |_, _| Script::status_with(status, &[], &error.to_string()), case)
}

pub(super) fn faults() -> Vec<Fault> {
    let failed = || Case::lost(502, &["engine_failed"]).again();
    let overloaded = || Case::lost(503, &["engine_overloaded"]).again();
    let too_long = Sees::Refused(400, &["context_length_exceeded"]);
    let filtered = Sees::Refused(400, &["content_filter"]);
    let short = |fault| Fault { pause: Duration::from_secs(1), ..fault };
    // Longer than anybody should wait: not asked again, and the caller is told.
    let long = |mut fault: Fault| {
        fault.stream.alone.sick = 1..=1;
        fault.plain.alone.sick = 1..=1;
        Fault { retry_after: Some(25), ..fault }
    };
    vec![
        status("500", 500, failed()),
        status("502", 502, failed()),
        status("504", 504, failed()),
        status("204", 204, failed()),
        status("503", 503, overloaded()),
        short(waiting("503, Retry-After: 1", 503, "1")),
        long(waiting("503, Retry-After: 30", 503, "30")),
        status("429", 429, overloaded()),
        short(waiting("429, Retry-After: 1", 429, "1")),
        long(waiting("429, Retry-After: 30", 429, "30")),
        coded("503, still loading", 503, "model_loading", Case::lost(503, &["model_loading"]).again()),
        status("408", 408, Case::lost(504, &["engine_timeout"])),
        status("400", 400, Case::told(Sees::Refused(400, &["engine_rejected"]))),
        status("422", 422, Case::told(Sees::Refused(400, &["engine_rejected"]))),
        status("401", 401, Case::lost(502, &["engine_credentials"])),
        status("404", 404, Case::lost(503, &["model_unavailable"])),
        Fault {
            sick: "context_tokens = 1000\n",
            well: "context_tokens = 100000\n",
            ..coded(
                "context overflow, another one has more",
                400,
                "context_length_exceeded",
                Case::told(too_long).away(Sees::Whole(WHOLE, "stop"), 1..=1, 1..=1),
            )
        },
        Fault {
            sick: "context_tokens = 1000\n",
            well: "context_tokens = 1000\n",
            ..coded("context overflow, nobody has more", 400, "context_length_exceeded", Case::told(too_long))
        },
        coded("filter refuses", 400, "content_filter", Case::told(filtered)),
        Fault::new(
            "redirect",
            |_, _| Script::status_with(302, &[("location", super::stage::LURE)], ""),
            failed(),
        ),
    ]
}
