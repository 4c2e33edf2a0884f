//! The records of pax headers: `length key=value` and a line break, values of any bytes.

use super::super::meta::Stamp;

/// Before the name of an extended attribute.
pub const XATTR: &[u8] = b"SCHILY.xattr.";

/// Appends a record. Its length counts its own digits.
pub fn record(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A space, `=` and the line break.
    let rest = key.len() + value.len() + 3;
    let mut len = rest + digits(rest);
    if rest + digits(len) != len {
        len = rest + digits(len);
    }
    to.extend_from_slice(len.to_string().as_bytes());
    to.push(b' ');
    to.extend_from_slice(key);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Takes the first record: its key, its value, and what follows. `None` when it is damaged.
#[must_use]
pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let len: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[len..]))
}

/// The key of an attribute's record. As GNU tar does it: a name may have what ends a key.
#[must_use]
pub fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = XATTR.to_vec();
    for &byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            other => key.push(other),
        }
    }
    key
}

/// The attribute's name in a record's key, if it is one.
#[must_use]
pub fn xattr_name(key: &[u8]) -> Option<Vec<u8>> {
    let mut rest = key.strip_prefix(XATTR)?;
    let mut name = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match rest.get(..3) {
            Some(b"%25") => (b'%', &rest[3..]),
            Some(b"%3D") => (b'=', &rest[3..]),
            _ => (first, after),
        };
        name.push(byte);
        rest = after;
    }
    Some(name)
}

/// A time in decimal seconds.
#[must_use]
pub fn time(stamp: Stamp) -> String {
    let Stamp { sec, nsec } = stamp;
    match (sec, nsec) {
        (sec, 0) => sec.to_string(),
        // -2 s and half a second more is -1.5.
        (..0, nsec) => format!("-{}.{:09}", -(sec + 1), 1_000_000_000 - nsec),
        (_, nsec) => format!("{sec}.{nsec:09}"),
    }
}

/// Reads such a time; digits beyond nanoseconds are left out.
#[must_use]
pub fn read_time(text: &[u8]) -> Option<Stamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let (negative, whole) = match whole.strip_prefix('-') {
        Some(whole) => (true, whole),
        None => (false, whole),
    };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(part) {
        return None;
    }
    let sec: i64 = whole.parse().ok()?;
    let nsec: u32 = format!("{part:0<9}").get(..9)?.parse().ok()?;
    Some(match (negative, nsec) {
        (false, nsec) => Stamp { sec, nsec },
        (true, 0) => Stamp { sec: -sec, nsec: 0 },
        (true, nsec) => Stamp {
            sec: -sec - 1,
            nsec: 1_000_000_000 - nsec,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        for len in (0..300).chain(9980..10_010) {
            let value = vec![b'\n'; len];
            let mut bytes = Vec::new();
            record(&mut bytes, b"key", &value);
            record(&mut bytes, b"next", b"=");
            let (key, found, rest) = split(&bytes).unwrap();
            assert_eq!((key, found), (&b"key"[..], &value[..]));
            assert_eq!(split(rest).unwrap(), (&b"next"[..], &b"="[..], &b""[..]));
        }
        for bad in [
            &b""[..],
            b"5",
            b"5 a=b",
            b"5 a=b\n",
            b"7 a=b\n",
            b"99 a=b\n",
            b"6 abc\n",
            b"-1 a=b\n",
            b"3 \n",
        ] {
            assert!(split(bad).is_none(), "{}", bad.escape_ascii());
        }
        // The example of the standard's own text is 30 long.
        assert_eq!(split(b"30 mtime=1321711775.972059463\n").unwrap().0, b"mtime");
    }

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        for (sec, nsec, text) in [
            (0, 0, "0"),
            (7, 5, "7.000000005"),
            (-2, 500_000_000, "-1.500000000"),
            (-1, 999_999_999, "-0.000000001"),
            (-3, 0, "-3"),
        ] {
            let stamp = Stamp { sec, nsec };
            assert_eq!(time(stamp), text);
            assert_eq!(read_time(text.as_bytes()), Some(stamp), "{text}");
        }
        assert_eq!(
            read_time(b"1.5"),
            Some(Stamp {
                sec: 1,
                nsec: 500_000_000
            })
        );
        for bad in ["", "-", "1e9", "0x1", "1.-5", "99999999999999999999"] {
            assert_eq!(read_time(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn an_attribute_may_have_any_name() {
        let name = b"user.a=b%c%3D";
        assert_eq!(xattr_key(name), b"SCHILY.xattr.user.a%3Db%25c%253D");
        assert_eq!(xattr_name(&xattr_key(name)).unwrap(), name);
        assert_eq!(xattr_name(b"path"), None);
    }
}
