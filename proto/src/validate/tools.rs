//! Tools, which of them may or must be called, and their deprecated forerunners, the functions.

use super::{
    found::{Found, Item},
    json::{At, Members},
};
use crate::inference::v1::{FunctionTool, GenerateRequest, Tool};

/// Most tools, as OpenAI has it.
const TOOLS_MAX: usize = 128;

pub(super) fn check(found: &mut Found, request: &GenerateRequest) {
    if request.tools.len() > TOOLS_MAX {
        found.add("tools", format!("must have at most {TOOLS_MAX} tools"));
    }
    for (index, tool) in request.tools.iter().enumerate() {
        check_tool(found, Item(&"tools", index), tool);
    }
    if let Some(json) = &request.tool_choice_json {
        check_choice(found, json, request);
    }
    let functions = request.functions_json.as_deref().map(|json| check_functions(found, json));
    if let Some(json) = &request.function_call_json {
        check_function_call(found, json, &functions.unwrap_or_default());
    }
}

fn check_tool(found: &mut Found, at: Item<'_>, tool: &Tool) {
    match tool.r#type.as_str() {
        "" => found.add(format_args!("{at}.type"), "is required"),
        "function" => match &tool.function {
            Some(function) => check_function(found, at, function),
            None => found.add(format_args!("{at}.function.name"), "is required"),
        },
        "custom" => {
            let custom = tool.custom.as_ref();
            found.required(
                format_args!("{at}.custom.name"),
                custom.is_some_and(|custom| !custom.name.is_empty()),
            );
            if let Some(format) = custom.and_then(|custom| custom.format_json.as_deref()) {
                check_format(found, &format!("{at}.custom.format"), format);
            }
        }
        _ => {}
    }
}

fn check_function(found: &mut Found, at: Item<'_>, function: &FunctionTool) {
    found.name(format_args!("{at}.function.name"), &function.name);
    // A schema is long and common, and whether it is JSON is seen when it is written to an engine.
    let first = function.parameters_json.as_deref().and_then(|json| json.trim_start().bytes().next());
    if first.is_some_and(|first| !matches!(first, b'{' | b'n')) {
        found.add(format_args!("{at}.function.parameters"), "must be an object");
    }
}

/// The form of a custom tool's input.
fn check_format(found: &mut Found, path: &str, json: &str) {
    let Some(format) = At::field(found, path, json).object(found) else { return };
    if format.at("type").required(found).string(found).as_deref() != Some("grammar") {
        return;
    }
    let Some(grammar) = format.at("grammar").required(found).object(found) else { return };
    grammar.at("definition").required(found).string(found);
    grammar.at("syntax").required(found).word(found, &["lark", "regex"]);
}

fn check_choice(found: &mut Found, json: &str, request: &GenerateRequest) {
    let choice = At::field(found, "tool_choice", json);
    let mut harmless = false;
    if choice.is_string() {
        if let Some(word) = choice.string(found) {
            harmless = matches!(word.as_str(), "none" | "auto");
            found.one_of(&choice.path, &word, &["none", "auto", "required"]);
        }
    } else if let Some(members) = choice.object(found) {
        // Nothing is among no tools, and too many are not searched for each name that is given: either is said once.
        let tools = (1..=TOOLS_MAX).contains(&request.tools.len()).then_some(request.tools.as_slice());
        match members.at("type").required(found).string(found).as_deref() {
            Some("allowed_tools") => check_allowed(found, &members, tools),
            Some(kind @ ("function" | "custom")) => check_named(found, &members, kind, tools),
            _ => {}
        }
    }
    if request.tools.is_empty() && !harmless && request.functions_json.is_none() {
        found.add("tool_choice", "is only allowed when tools are given");
    }
}

fn check_allowed(found: &mut Found, choice: &Members<'_>, tools: Option<&[Tool]>) {
    let Some(allowed) = choice.at("allowed_tools").required(found).object(found) else { return };
    allowed.at("mode").required(found).word(found, &["auto", "required"]);
    for tool in allowed.at("tools").required(found).array(found).unwrap_or_default() {
        let Some(members) = tool.required(found).object(found) else { continue };
        // The specification leaves these objects open; what names a tool must name one that is there.
        let kind = members.at("type").string(found);
        if let Some(kind @ ("function" | "custom")) = kind.as_deref() {
            check_named(found, &members, kind, tools);
        }
    }
}

/// `{"type": kind, kind: {"name": …}}`, which must name one of the tools.
fn check_named(found: &mut Found, members: &Members<'_>, kind: &str, tools: Option<&[Tool]>) {
    let Some(named) = members.at(kind).required(found).object(found) else { return };
    let at = named.at("name").required(found);
    let (Some(name), Some(tools)) = (at.string(found), tools) else { return };
    let is_there = tools.iter().filter(|tool| tool.r#type == kind).any(|tool| match kind {
        "function" => tool.function.as_ref().is_some_and(|function| function.name == name),
        _ => tool.custom.as_ref().is_some_and(|custom| custom.name == name),
    });
    if !is_there {
        found.add(&at.path, format!("must be the name of a {kind} among the tools"));
    }
}

/// The names of the functions.
fn check_functions(found: &mut Found, json: &str) -> Vec<String> {
    let Some(functions) = At::field(found, "functions", json).array(found) else { return Vec::new() };
    if functions.is_empty() || functions.len() > TOOLS_MAX {
        found.add("functions", format!("must have from 1 to {TOOLS_MAX} functions"));
    }
    let mut names = Vec::new();
    for function in functions {
        let Some(function) = function.required(found).object(found) else { continue };
        names.extend(function.at("name").name(found));
        function.at("description").string(found);
        function.at("parameters").object(found);
    }
    names
}

fn check_function_call(found: &mut Found, json: &str, names: &[String]) {
    let call = At::field(found, "function_call", json);
    if call.is_string() {
        return call.word(found, &["none", "auto"]);
    }
    let Some(members) = call.object(found) else { return };
    let at = members.at("name").required(found);
    if let Some(name) = at.string(found)
        && !names.contains(&name)
    {
        found.add(&at.path, "must be the name of one of the functions");
    }
}
