//! A stream of bytes in frames, so that its end is told and the connection that it comes over can stay open: the last
//! words of a helper that is still waited for are not lost. A connection that breaks is no end.

use std::io::{Error, ErrorKind, Read, Result};

/// The most that is in a frame.
pub const LONGEST: usize = 256 << 10;

/// What precedes a frame of so many bytes; one of none is the end.
#[must_use]
pub fn head(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

/// Reads what is in the frames, up to the end that is told.
pub struct Frames<'a> {
    from: &'a mut (dyn Read + Send),
    left: usize,
    over: bool,
}

impl<'a> Frames<'a> {
    /// From the first frame on.
    pub fn new(from: &'a mut (dyn Read + Send)) -> Self {
        Self {
            from,
            left: 0,
            over: false,
        }
    }
}

/// No [`ErrorKind::UnexpectedEof`], which would be the end of what is in the frames.
fn gone() -> Error {
    Error::new(ErrorKind::ConnectionAborted, "the host went away")
}

impl Read for Frames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.over || buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            let mut head = [0; 4];
            self.from.read_exact(&mut head).map_err(|error| {
                if error.kind() == ErrorKind::UnexpectedEof {
                    gone()
                } else {
                    error
                }
            })?;
            self.left = u32::from_be_bytes(head) as usize;
            if self.left > LONGEST {
                return Err(Error::new(ErrorKind::InvalidData, "a frame that is too long"));
            }
            if self.left == 0 {
                self.over = true;
                return Ok(0);
            }
        }
        let room = buffer.len().min(self.left);
        let got = self.from.read(&mut buffer[..room])?;
        if got == 0 {
            return Err(gone());
        }
        self.left -= got;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_that_is_told_is_one() {
        let stream = [&head(3)[..], b"abc", &head(2), b"de", &head(0), b"more"].concat();
        let read = |bytes: &[u8]| {
            let mut from = bytes;
            let mut text = String::new();
            let got = Frames::new(&mut from).read_to_string(&mut text);
            (got.map_err(|e| e.kind()), text, from.len())
        };
        assert_eq!(read(&stream), (Ok(5), "abcde".to_owned(), 4));
        for cut in 0..stream.len() - 4 {
            assert_eq!(
                read(&stream[..cut]).0,
                Err(ErrorKind::ConnectionAborted),
                "cut at {cut}"
            );
        }
        assert_eq!(read(b"\xff\xff\xff\xff").0, Err(ErrorKind::InvalidData));
    }
}
