//! Reads limits and labels as they are written on the command line.

use penstock_proto::ratelimit::v1::{Limit, Unit};

/// `UNIT=LIMIT/PERIOD` or `UNIT=LIMIT/PERIOD/BURST`, such as `requests=60/1m` and `tokens=100000/1h/20000`.
pub(super) fn limit(text: &str) -> Result<Limit, String> {
    parse_limit(text).ok_or_else(|| "must be such as requests=60/1m or tokens=100000/1h/20000".to_owned())
}

fn parse_limit(text: &str) -> Option<Limit> {
    let (unit, rest) = text.split_once('=')?;
    let unit = match unit {
        "requests" => Unit::Requests,
        "tokens" => Unit::Tokens,
        _ => return None,
    };
    let (limit, rest) = rest.split_once('/')?;
    let (per, burst) = match rest.split_once('/') {
        Some((per, burst)) => (per, Some(number(burst)?)),
        None => (rest, None),
    };
    let per = humantime::parse_duration(per).ok()?.try_into().ok()?;
    Some(Limit { unit: unit.into(), limit: number(limit)?, per: Some(per), burst })
}

/// Underscores may set thousands apart, as in the configuration.
fn number(text: &str) -> Option<u64> {
    text.replace('_', "").parse().ok()
}

/// `NAME=VALUE`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be such as team=blue")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_written() {
        let per = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let requests = Limit { unit: Unit::Requests.into(), limit: 60, per: per(60), burst: None };
        assert_eq!(limit("requests=60/1m"), Ok(requests));
        let tokens = Limit { unit: Unit::Tokens.into(), limit: 100_000, per: per(3600), burst: Some(20) };
        assert_eq!(limit("tokens=100_000/1h/20"), Ok(tokens));
        for wrong in [
            "",
            "requests",
            "requests=",
            "requests=60",
            "money=1/1m",
            "requests=-1/1m",
            "tokens=1/1m/",
            "tokens=1/x",
        ] {
            limit(wrong).unwrap_err();
        }
    }

    #[test]
    fn labels_may_hold_equals_signs() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        label("a").unwrap_err();
    }
}
