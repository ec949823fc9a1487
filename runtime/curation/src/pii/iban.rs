//! Bank accounts: ISO 13616's lengths by country, and its check (mod 97).

use std::ops::Range;

use super::context::{after, before, is_wordy};

/// Country codes and the length of their IBANs (the registry of ISO 13616, release 99).
const LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 \
    FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 \
    LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 \
    SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

/// The account whose check digits start at `digit`: two letters before, the rest after.
pub(super) fn at(text: &str, digit: usize) -> Option<Range<usize>> {
    let start = digit.checked_sub(2)?;
    let bytes = text.as_bytes();
    let country = bytes.get(start..digit)?;
    if !country.iter().all(u8::is_ascii_uppercase) || is_wordy(before(text, start)) {
        return None;
    }
    let length = length(country)?;
    let (mut rest, mut count, mut at) = (0u32, 0, start);
    let mut moved = [0u8; 4];
    while count < length {
        let byte = *bytes.get(at)?;
        if byte.is_ascii_digit() || byte.is_ascii_uppercase() {
            if count < 4 {
                moved[count] = byte;
            } else {
                rest = step(rest, byte);
            }
            count += 1;
        } else if !(matches!(byte, b' ' | b'-')
            && count >= 2
            && bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric))
        {
            return None;
        }
        at += 1;
    }
    let is_account = moved[2..].iter().all(u8::is_ascii_digit)
        && moved.iter().fold(rest, |rest, byte| step(rest, *byte)) == 1
        && !is_wordy(after(text, at));
    is_account.then_some(start..at)
}

fn length(country: &[u8]) -> Option<usize> {
    let entry = LENGTHS.split_ascii_whitespace().find(|entry| entry.as_bytes().starts_with(country))?;
    entry.get(2..)?.parse().ok()
}

/// Appends a digit, or a letter as its two digits, to a number mod 97.
fn step(rest: u32, byte: u8) -> u32 {
    let value =
        u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte.wrapping_sub(b'A').wrapping_add(10) });
    (rest * if value < 10 { 10 } else { 100 } + value) % 97
}
