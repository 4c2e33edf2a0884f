//! The hash of a content: that of the list of the BLAKE3 hashes of its blocks.
//!
//! So the list of a large file can be kept, the blocks of it that changed be found, and several threads hash one file.
//! A hole is hashed as the zeros that it reads as.

use std::sync::OnceLock;

use super::context::Context;
use super::fault::Result;

/// What is hashed at a time, and the unit in which a large file is compared with its last state. It divides what is
/// read at a time.
pub const HASHED: usize = 128 << 10;

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

/// The hash of one block.
#[must_use]
pub fn hash_of_block(block: &[u8]) -> Hash {
    *blake3::hash(block).as_bytes()
}

/// The hash of a block of zeros.
#[must_use]
pub fn hash_of_zeros(len: usize) -> Hash {
    static FULL: OnceLock<Hash> = OnceLock::new();
    let whole = || hash_of_block(&vec![0; HASHED]);
    if len == HASHED {
        *FULL.get_or_init(whole)
    } else {
        hash_of_block(&vec![0; len])
    }
}

/// The hash of a content from those of its blocks.
#[must_use]
pub fn hash_of_list(list: &[Hash]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("rehome: the list of the block hashes of a file");
    hasher.update(list.as_flattened());
    *hasher.finalize().as_bytes()
}

/// Hashes a content that comes in pieces of any length.
#[derive(Default)]
pub struct Blocks {
    list: Vec<Hash>,
    current: blake3::Hasher,
    filled: usize,
}

impl Blocks {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let part = bytes.len().min(HASHED - self.filled);
            if part == HASHED {
                self.list.push(hash_of_block(&bytes[..part]));
            } else {
                self.current.update(&bytes[..part]);
                self.filled += part;
                self.close(self.filled == HASHED);
            }
            bytes = &bytes[part..];
        }
    }

    /// Takes so many zeros.
    ///
    /// # Errors
    /// When the operation shall end.
    pub fn zeros(&mut self, cx: &Context, mut len: u64) -> Result<()> {
        static ZEROS: [u8; HASHED] = [0; HASHED];
        while len > 0 {
            cx.go_on()?;
            let part = len.min((HASHED - self.filled) as u64) as usize;
            if part == HASHED {
                self.list.push(hash_of_zeros(HASHED));
            } else {
                self.update(&ZEROS[..part]);
            }
            len -= part as u64;
        }
        Ok(())
    }

    fn close(&mut self, close: bool) {
        if close {
            self.list.push(*self.current.finalize().as_bytes());
            self.current.reset();
            self.filled = 0;
        }
    }

    /// The list.
    #[must_use]
    pub fn finish(mut self) -> Vec<Hash> {
        self.close(self.filled > 0);
        self.list
    }
}
