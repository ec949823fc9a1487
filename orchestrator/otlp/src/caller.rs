//! Whose work ours is a part of, by W3C's Trace Context.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

/// The caller that `traceparent` and `tracestate` name, as the parent of spans; none where they name none. Of the flags the sampled one counts: spans of a
/// caller that does not sample are not sent. OpenTelemetry's own reader takes the flags that came later (`03`) for an error.
pub fn caller(traceparent: &str, tracestate: &str) -> Option<Context> {
    let mut parts = traceparent.trim().split('-');
    let mut part = |length: usize| parts.next().filter(|part| is_hex(part, length));
    let version = part(2).filter(|version| *version != "ff")?;
    let trace_id = TraceId::from_hex(part(32)?).ok()?;
    let span_id = SpanId::from_hex(part(16)?).ok()?;
    let flags = u8::from_str_radix(part(2)?, 16).ok()?;
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    // A state that can't be read is as good as none; the parent stays.
    let state = tracestate.parse::<TraceState>().unwrap_or_default();
    let caller = SpanContext::new(trace_id, span_id, flags, true, state);
    caller.is_valid().then(|| Context::new().with_remote_span_context(caller))
}

fn is_hex(part: &str, length: usize) -> bool {
    part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn read(traceparent: &str, tracestate: &str) -> Option<(String, String, bool, String)> {
        let context = caller(traceparent, tracestate)?;
        let span = context.span();
        let id = span.span_context();
        assert!(id.is_remote());
        Some((
            id.trace_id().to_string(),
            id.span_id().to_string(),
            id.is_sampled(),
            id.trace_state().header(),
        ))
    }

    #[test]
    fn a_caller_is_read_with_its_flag_and_its_state() {
        let expected = |is_sampled: bool, state: &str| {
            Some((TRACE.to_owned(), SPAN.to_owned(), is_sampled, state.to_owned()))
        };
        let with = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        assert_eq!(read(&with("01"), "a=1,b=2"), expected(true, "a=1,b=2"));
        assert_eq!(read(&with("00"), ""), expected(false, ""));
        assert_eq!(read(&with("03"), ""), expected(true, ""), "a flag that came later");
        assert_eq!(read(&with("02"), ""), expected(false, ""));
        assert_eq!(read(&with("01"), "no state"), expected(true, ""));
        let later = format!("01-{TRACE}-{SPAN}-01-more");
        assert_eq!(read(&later, ""), expected(true, ""), "a version that came later");
    }

    #[test]
    fn what_names_no_caller_is_none() {
        let zeros = "0".repeat(32);
        for other in [
            String::new(),
            "00".into(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{TRACE}-{SPAN}-+1"),
        ] {
            assert_eq!(read(&other, ""), None, "{other}");
        }
    }
}
