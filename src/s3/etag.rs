//! What the storage calls a version of an object, which for most objects is the MD5 of what is in it.
//!
//! Of an object in parts it is the MD5 of the MD5s of its parts, and how many they are. Where a storage encrypts with keys
//! of its own, or makes something up, it says nothing of the content.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>

use md5::{Digest as _, Md5};

/// An MD5.
pub type Md5Sum = [u8; 16];

/// The MD5 of bytes.
#[must_use]
pub fn md5(bytes: &[u8]) -> Md5Sum {
    Md5::digest(bytes).into()
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ETag {
    /// It looks like the MD5 of an object that came whole.
    Whole(Md5Sum),
    /// It looks like that of an object in so many parts.
    Parts(Md5Sum, u32),
    /// It says nothing.
    Opaque,
}

impl ETag {
    /// Reads what a storage says, with quotes or without.
    #[must_use]
    pub fn read(text: Option<&str>) -> Self {
        let text = text.unwrap_or_default().trim_matches('"');
        let (sum, parts) = match text.split_once('-') {
            Some((sum, parts)) => (sum, Some(parts)),
            None => (text, None),
        };
        let Some(sum) = sum_of(sum) else {
            return Self::Opaque;
        };
        match parts.map(str::parse) {
            None => Self::Whole(sum),
            Some(Ok(parts)) if parts > 0 => Self::Parts(sum, parts),
            Some(_) => Self::Opaque,
        }
    }

    /// That of an object whose parts have these sums.
    #[must_use]
    pub fn of_parts(parts: &[Md5Sum]) -> Self {
        Self::Parts(
            md5(parts.as_flattened()),
            u32::try_from(parts.len()).unwrap_or(u32::MAX),
        )
    }
}

fn sum_of(hex: &str) -> Option<Md5Sum> {
    let mut sum = [0; 16];
    if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in sum.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_storages_say_is_read() {
        // The MD5 of nothing, as every storage has it for an empty object.
        let empty = "\"d41d8cd98f00b204e9800998ecf8427e\"";
        assert_eq!(ETag::read(Some(empty)), ETag::Whole(md5(b"")));
        let parts = "d41d8cd98f00b204e9800998ecf8427e-12";
        assert_eq!(ETag::read(Some(parts)), ETag::Parts(md5(b""), 12));
        for opaque in [
            "",
            "\"\"",
            "abc",
            "d41d8cd98f00b204e9800998ecf8427e-0",
            "d41d8cd98f00b204e9800998ecf8427e-x",
            "+41d8cd98f00b204e9800998ecf8427e",
            "äd41d8cd98f00b204e9800998ecf842",
        ] {
            assert_eq!(ETag::read(Some(opaque)), ETag::Opaque, "{opaque}");
        }
        assert_eq!(ETag::read(None), ETag::Opaque);
    }
}
