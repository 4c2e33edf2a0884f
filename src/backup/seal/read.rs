//! Reading what was sealed.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use age::{DecryptError, Decryptor, Identity};

use super::super::carried;
use super::super::format::Sealed;
use super::checked::{Checked, Expected, damaged};
use super::keys::Keys;
use crate::model::{Failure, Result};

/// What is read at once.
const BUFFER: usize = 128 << 10;
/// The largest window that is given memory for, as a power of two: 32 MiB. Ours are never above 8.
const WINDOW: u32 = 25;
/// The most work that a passphrase may cost, as a power of two: 256 MiB of memory for a moment.
const MOST_WORK: u8 = 18;
/// age's header is never longer: some hundred bytes a recipient.
const HEADER_LIMIT: usize = 256 << 10;
/// How age's files begin, and how the last line of their header does.
const AGE: &[u8] = b"age-encryption.org/";
const HEADER_ENDS: &[u8] = b"--- ";
/// How zstd's frames begin.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The plain bytes of an entry. It fails at its end, with an error that [`super::super::failed`] tells in words, unless all
/// of it was what [`Sealed`] says.
///
/// # Errors
/// When it cannot be read with these keys, or its beginning is damaged.
pub fn unseal(from: Box<dyn Read + Send>, sealed: &Sealed, keys: &Keys) -> Result<Box<dyn Read + Send>> {
    let stored = Expected {
        what: "stored bytes",
        bytes: sealed.stored_bytes,
        blake3: sealed.stored_blake3.clone(),
    };
    let mut stored = BufReader::with_capacity(BUFFER, Checked::new(from, stored));
    let unreadable = |e: io::Error| super::super::failed("cannot read an entry of the backup", &e);
    let head = beginning(&mut stored).map_err(unreadable)?;
    let rest: Box<dyn BufRead + Send> = if head.starts_with(AGE) {
        let age =
            Decryptor::new_buffered(Cursor::new(head).chain(stored)).map_err(|e| told(&e, keys, false))?;
        let scrypt = age.is_scrypt();
        let plain = decrypted(age, keys).map_err(|e| told(&e, keys, scrypt))?;
        Box::new(BufReader::with_capacity(BUFFER, plain))
    } else if head.starts_with(ZSTD) {
        Box::new(Cursor::new(head).chain(stored))
    } else {
        return Err(damaged("it begins like nothing that rehome writes").data("nothing was changed"));
    };
    let mut zstd = zstd::stream::read::Decoder::with_buffer(rest)
        .map_err(unreadable)?
        .single_frame();
    zstd.window_log_max(WINDOW).map_err(unreadable)?;
    let plain = Expected {
        what: "bytes",
        bytes: sealed.bytes,
        blake3: sealed.blake3.clone(),
    };
    Ok(Box::new(Checked::new(Whole(zstd), plain)))
}

/// The first bytes: of an age file its header without the nonce, of anything else only enough to know what it is.
fn beginning(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    from.take(ZSTD.len() as u64).read_to_end(&mut head)?;
    if head != AGE[..ZSTD.len()] {
        return Ok(head);
    }
    loop {
        let line = head.len();
        let left = (HEADER_LIMIT - line) as u64;
        if from.take(left).read_until(b'\n', &mut head)? == 0 || head[line..].starts_with(HEADER_ENDS) {
            return Ok(head);
        }
    }
}

fn decrypted<R: Read>(age: Decryptor<R>, keys: &Keys) -> Result<age::stream::StreamReader<R>, DecryptError> {
    if !age.is_scrypt() {
        return age.decrypt(keys.identities.iter().map(|one| one as &dyn Identity));
    }
    let passphrase = keys.passphrase.as_ref().ok_or(DecryptError::NoMatchingKeys)?;
    let mut identity = age::scrypt::Identity::new(passphrase.reveal().to_owned().into());
    identity.set_max_work_factor(MOST_WORK);
    age.decrypt(std::iter::once(&identity as &dyn Identity))
}

/// Why an age file could not be opened.
fn told(error: &DecryptError, keys: &Keys, passphrase: bool) -> Failure {
    let refused = |what: &str| Failure::refused(what).data("nothing was changed");
    match error {
        DecryptError::NoMatchingKeys if passphrase => {
            refused("the backup is encrypted with a passphrase, and none was given")
                .hint("give the passphrase that it was made with")
        }
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed if passphrase => {
            refused("the passphrase is not the one that the backup was encrypted with")
                .hint("give the passphrase that it was made with")
        }
        DecryptError::NoMatchingKeys if keys.identities.is_empty() => {
            refused("the backup is encrypted, and no key was given")
                .hint("give the file with the secret key of one of its recipients")
        }
        DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            refused("none of the keys that were given opens the backup")
                .hint("give the file with the secret key of one of its recipients")
        }
        DecryptError::ExcessiveWork { required, .. } => damaged(format!(
            "its passphrase would cost 2^{required} units of work; rehome spends up to 2^{MOST_WORK}"
        ))
        .data("nothing was changed"),
        DecryptError::Io(e) => match carried(e) {
            Some(failure) => failure.clone(),
            None => damaged(e.to_string()).data("nothing was changed"),
        },
        // What is wrong with the header, and what a newer age may call it.
        _ => damaged(format!("its encryption: {error}")).data("nothing was changed"),
    }
}

/// One frame, and nothing behind it.
struct Whole(zstd::stream::read::Decoder<'static, Box<dyn BufRead + Send>>);

impl Read for Whole {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buf)?;
        // This end has to be reached, too: only there age and the stored bytes are judged.
        if n == 0 && !buf.is_empty() && !self.0.get_mut().fill_buf()?.is_empty() {
            return Err(super::super::carry(damaged("there is more behind its end")));
        }
        Ok(n)
    }
}
