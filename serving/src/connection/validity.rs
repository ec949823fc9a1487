//! Until when a certificate is valid: the one fact of it that a server must tell its operator, read from its DER by the layout of RFC 5280.

/// The end of a certificate's validity, seconds since the Unix epoch; none where it is no certificate.
pub(super) fn end_of_validity(certificate: &[u8]) -> Option<u64> {
    const SEQUENCE: u8 = 0x30;
    let (_, whole, _) = element(certificate)?;
    let (_, mut facts, _) = element(whole)?;
    // The version, where it is said; then number, algorithm and issuer.
    if facts.first() == Some(&0xa0) {
        facts = element(facts)?.2;
    }
    for _ in 0..3 {
        facts = element(facts)?.2;
    }
    let (kind, validity, _) = element(facts)?;
    let (_, _, end) = element(validity).filter(|_| kind == SEQUENCE)?;
    let (kind, text, _) = element(end)?;
    time(kind, std::str::from_utf8(text).ok()?)
}

/// An element's tag and content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        let digits = rest.get(..count).filter(|_| count <= 4)?;
        length = digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit));
        rest = &rest[count..];
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` of 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(kind: u8, text: &str) -> Option<u64> {
    const UTC_TIME: u8 = 0x17;
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let digits = match kind {
        UTC_TIME if digits < "50" => format!("20{digits}"),
        UTC_TIME => format!("19{digits}"),
        _ => digits.to_owned(),
    };
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hours, minutes, secs) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    // Days since 1970 of the Gregorian calendar, whose years begin in March here.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    u64::try_from(((days * 24 + hours) * 60 + minutes) * 60 + secs).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read() {
        for (kind, text, secs) in [
            (0x17, "700101000000Z", 0),
            (0x17, "240229120000Z", 1_709_208_000),
            (0x17, "491231235959Z", 2_524_607_999),
            (0x18, "20500101000000Z", 2_524_608_000),
        ] {
            assert_eq!(time(kind, text), Some(secs), "{text}");
        }
        assert_eq!(time(0x17, "x"), None);
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2031, 5, 17);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        assert_eq!(end_of_validity(certificate.der()), Some(1_936_742_400));
        for cut in [0, 1, 9, 40] {
            assert_eq!(end_of_validity(&certificate.der()[..cut]), None);
        }
    }
}
