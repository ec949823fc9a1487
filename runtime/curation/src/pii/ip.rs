//! IP addresses that are somebody's.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::context::{after, before, is_wordy, run_end, run_start};
use super::numbering::{is_small_numbering, numbers_parts};

const ARCHIVES: [&str; 12] =
    [".tar", ".zip", ".whl", ".jar", ".exe", ".deb", ".rpm", ".gz", ".dll", ".so", ".msi", ".dmg"];

/// The IPv4 address whose first octet starts at `start`.
pub(super) fn v4_at(text: &str, start: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = start;
    for octet in 0..4 {
        let end = run_end(bytes, at, 4, |byte| byte.is_ascii_digit());
        if end == at || end - at > 3 {
            return None;
        }
        at = end;
        if octet < 3 {
            (bytes.get(at) == Some(&b'.')).then_some(())?;
            at += 1;
        }
    }
    let ip: Ipv4Addr = text.get(start..at)?.parse().ok()?;
    let (previous, next, then) = (before(text, start), after(text, at), text[at..].chars().nth(1));
    // `1.2.3.4.5`, `v1.2.3.4`, `pkg-1.2.3.4`, `1.2.3.4-rc1` are versions.
    let is_part = is_wordy(previous) || previous.is_some_and(|c| ".:-§".contains(c));
    let goes_on = is_wordy(next)
        || (next == Some('.') && then.is_some_and(|c| c.is_ascii_digit()))
        || (next == Some('-') && then.is_some_and(char::is_alphabetic))
        || ARCHIVES.iter().any(|end| text[at..].starts_with(end));
    if is_part || goes_on || !is_public_v4(ip) || numbers_parts(text, start) {
        return None;
    }
    // Versions and parts of documents have small numbers: those ask for a closer look.
    let is_small = ip.octets().iter().all(|octet| *octet < 32) && next != Some(':') && next != Some('/');
    (!is_small || !is_small_numbering(text, start..at)).then_some(start..at)
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (18..20).contains(&b);
    let protocol = (a, b, c) == (192, 0, 0);
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || shared
        || benchmark
        || protocol
        || a == 0
        || a >= 224)
}

/// The IPv6 address with the colon at `colon`, and the end of what was read.
pub(super) fn v6_at(text: &str, colon: usize) -> (usize, Option<Range<usize>>) {
    let bytes = text.as_bytes();
    let belongs = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
    let start = run_start(bytes, colon, 48, belongs);
    let end = run_end(bytes, colon, 48, belongs);
    (end, address(text, start, end))
}

fn address(text: &str, start: usize, end: usize) -> Option<Range<usize>> {
    let run = text.get(start..end)?;
    let run = run.strip_suffix(['.', ':']).filter(|rest| !rest.ends_with(':')).unwrap_or(run);
    let end = start + run.len();
    if is_wordy(before(text, start)) || is_wordy(after(text, end)) || before(text, start) == Some('-') {
        return None;
    }
    let ip: Ipv6Addr = run.parse().ok()?;
    let groups = run.split(':').filter(|group| !group.is_empty()).count();
    let first = run.split(':').next().unwrap_or("");
    let is_public = match ip.to_ipv4_mapped() {
        Some(v4) => is_public_v4(v4),
        None => groups >= 2 && first.len() == 4 && is_public_v6(ip),
    };
    is_public.then_some(start..end)
}

/// Global unicast is 2000::/3, without documentation (2001:db8::/32, 3fff::/20) and benchmarking (2001:2::/48).
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, third, ..] = ip.segments();
    let reserved = (first == 0x2001 && second == 0xdb8)
        || (first == 0x3fff && second < 0x1000)
        || (first == 0x2001 && second == 2 && third == 0);
    (0x2000..0x4000).contains(&first) && !reserved
}
