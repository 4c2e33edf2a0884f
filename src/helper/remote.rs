//! A repository of snapshots that is elsewhere. The helper asks for its files over stdout, and the host answers over
//! stdin, one after the other: so the helper needs no network, and nothing of the place but this.
//!
//! A message is a stream of frames ([`super::frames`]): how long its head is, the head in JSON, and bytes.

use std::io::{Error, Read, Result, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::frames::{Frames, LONGEST, head};
use super::protocol::FailClass;

/// No file of a repository is longer: packs of restic have up to 128 MiB.
const MOST: usize = 1 << 30;

/// See [`super::protocol::Request::Snapshot`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// The tree.
    pub dir: PathBuf,
    /// Whether anything may write to it meanwhile. When not, a tree that changes is an error instead of a note.
    pub live: bool,
    /// What the tree is called in the snapshot: a name.
    pub name: String,
    /// Whose snapshot it is.
    pub host: String,
    /// What it is found by later.
    pub tags: Vec<String>,
}

/// What is in a snapshot, and what of it is new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReport {
    /// Its id, in hex.
    pub id: String,
    /// Entries, the root directory and further names included.
    pub entries: u64,
    /// Bytes of its files' content, holes included.
    pub bytes: u64,
    /// Files that the snapshot before did not have.
    pub files_new: u64,
    /// Files that were another in the snapshot before.
    pub files_changed: u64,
    /// Bytes that the repository grew by.
    pub bytes_added: u64,
}

/// What the helper asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// The key of the repository. It comes this way because arguments and environments are seen by others.
    Key,
    /// The names and lengths of all files of a type.
    List {
        /// The type.
        of: FileType,
    },
    /// A file.
    Read {
        /// Its type.
        of: FileType,
        /// Its name.
        id: Id,
    },
    /// A part of a file.
    Part {
        /// Its type.
        of: FileType,
        /// Its name.
        id: Id,
        /// From here.
        at: u32,
        /// So much.
        len: u32,
    },
    /// That a file, whose bytes follow, is written.
    Write {
        /// Its type.
        of: FileType,
        /// Its name.
        id: Id,
    },
}

/// How the host's answer begins; what was asked for follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// It is not.
    Failed {
        /// Why.
        why: String,
    },
}

/// A message, ready to be sent.
///
/// # Errors
/// When its head cannot be written as JSON.
pub fn message(about: &impl Serialize, body: &[&[u8]]) -> Result<Vec<u8>> {
    let about = serde_json::to_vec(about)?;
    let len = (about.len() as u32).to_be_bytes();
    let content = [&[&len[..], &about], body].concat().concat();
    let mut sent = Vec::with_capacity(content.len() + 4 * (content.len() / LONGEST + 2));
    for piece in content.chunks(LONGEST) {
        sent.extend_from_slice(&head(piece.len()));
        sent.extend_from_slice(piece);
    }
    sent.extend_from_slice(&head(0));
    Ok(sent)
}

/// The head of a message and what follows it.
///
/// # Errors
/// When it is none.
pub fn parted<T: DeserializeOwned>(content: Vec<u8>) -> Result<(T, Bytes)> {
    let none = || Error::other("a message that is none");
    let len: [u8; 4] = content
        .get(..4)
        .and_then(|len| len.try_into().ok())
        .ok_or_else(none)?;
    let end = 4 + u32::from_be_bytes(len) as usize;
    let about = serde_json::from_slice(content.get(4..end).ok_or_else(none)?)?;
    Ok((about, Bytes::from(content).slice(end..)))
}

/// Messages out of pieces as they come.
#[derive(Debug, Default)]
pub struct Incoming {
    raw: Vec<u8>,
    content: Vec<u8>,
}

impl Incoming {
    /// The content of a message when its last piece came. The next one is only sent after this was answered.
    ///
    /// # Errors
    /// When it is too long.
    pub fn take(&mut self, piece: &[u8]) -> Result<Option<Vec<u8>>> {
        self.raw.extend_from_slice(piece);
        let mut at = 0;
        while let Some(head) = self.raw.get(at..at + 4) {
            let len = head.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            if len > LONGEST || self.content.len() > MOST {
                return Err(Error::other("a message that is too long"));
            }
            if len == 0 {
                self.raw.drain(..at + 4);
                return Ok(Some(std::mem::take(&mut self.content)));
            }
            let Some(frame) = self.raw.get(at + 4..at + 4 + len) else {
                break;
            };
            self.content.extend_from_slice(frame);
            at += 4 + len;
        }
        self.raw.drain(..at);
        Ok(None)
    }
}

/// A question on its way, and where its answer is wanted.
struct Question(Vec<u8>, Sender<Result<Vec<u8>>>);

/// The far side, as the backend of a repository. The first thing that goes wrong is kept, and no snapshot is written after
/// that: a library that goes on without a file would leave one that lacks it.
#[derive(Debug)]
pub struct Remote {
    questions: Sender<Question>,
    lost: Mutex<Option<Fault>>,
}

/// The end of a [`Remote`] that has the streams.
pub struct Line(Receiver<Question>);

impl Remote {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, Line) {
        let (questions, asked) = bounded(0);
        let remote = Self {
            questions,
            lost: Mutex::default(),
        };
        (remote, Line(asked))
    }

    /// Keeps what went wrong, unless something did before.
    pub fn lose(&self, fault: Fault) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert(fault);
    }

    /// What went wrong first.
    pub fn lost(&self) -> Option<Fault> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When the host is gone, or cannot do it.
    pub fn ask(&self, ask: &Ask, body: &[&[u8]]) -> super::fault::Result<Bytes> {
        let asked = || -> Result<Bytes> {
            let (wanted, answer) = bounded(1);
            let gone = |_| Error::other("the host went away");
            let question = Question(message(ask, body)?, wanted);
            self.questions.send(question).map_err(|e| gone(e.to_string()))?;
            let content = answer.recv().map_err(|e| gone(e.to_string()))??;
            match parted(content)? {
                (Reply::Done, body) => Ok(body),
                (Reply::Failed { why }, _) => Err(Error::other(why)),
            }
        };
        asked().map_err(|error| {
            let what = "the repository of snapshots cannot be used";
            let fault = Fault::new(FailClass::Other, what, error.to_string());
            self.lose(fault.clone());
            fault
        })
    }

    fn asked(&self, ask: &Ask, body: &[&[u8]]) -> RusticResult<Bytes> {
        self.ask(ask, body).map_err(|fault| told(&fault))
    }
}

/// In the words of the library.
fn told(fault: &Fault) -> Box<RusticError> {
    RusticError::new(ErrorKind::Backend, format!("{}: {}", fault.what, fault.because))
}

impl Line {
    /// Hands questions and answers on until `done` is dropped.
    pub fn attend(self, done: &Receiver<()>, input: &mut (dyn Read + Send), out: &mut (dyn Write + Send)) {
        loop {
            crossbeam_channel::select! {
                recv(self.0) -> question => {
                    let Ok(Question(bytes, wanted)) = question else { return };
                    // Whoever asked has gone if nobody takes it.
                    drop(wanted.send(exchange(&bytes, input, out)));
                }
                recv(done) -> _ => return,
            }
        }
    }
}

fn exchange(bytes: &[u8], input: &mut (dyn Read + Send), out: &mut (dyn Write + Send)) -> Result<Vec<u8>> {
    out.write_all(bytes)?;
    out.flush()?;
    let mut content = Vec::new();
    let limit = MOST as u64 + 1;
    Frames::new(input).take(limit).read_to_end(&mut content)?;
    Ok(content)
}

impl ReadBackend for Remote {
    fn location(&self) -> String {
        "the host".to_owned()
    }

    fn list_with_size(&self, of: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let listed = self.asked(&Ask::List { of }, &[])?;
        serde_json::from_slice(&listed)
            .map_err(|e| RusticError::with_source(ErrorKind::Backend, "a list that is none", e))
    }

    fn read_full(&self, of: FileType, id: &Id) -> RusticResult<Bytes> {
        self.asked(&Ask::Read { of, id: *id }, &[])
    }

    fn read_partial(&self, of: FileType, id: &Id, _: bool, at: u32, len: u32) -> RusticResult<Bytes> {
        self.asked(&Ask::Part { of, id: *id, at, len }, &[])
    }

    fn warmup_path(&self, _: FileType, id: &Id) -> String {
        id.to_hex().as_str().to_owned()
    }
}

impl WriteBackend for Remote {
    fn write_bytes(&self, of: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        if let (FileType::Snapshot, Some(fault)) = (of, self.lost()) {
            return Err(told(&fault));
        }
        let body: Vec<&[u8]> = content.slice().iter().map(|bytes| &bytes[..]).collect();
        self.asked(&Ask::Write { of, id: *id }, &body).map(drop)
    }

    fn remove(&self, _: FileType, _: &Id, _: bool) -> RusticResult<()> {
        Err(RusticError::new(ErrorKind::Backend, "a snapshot removes nothing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_in_whatever_pieces_it_comes() {
        let ask = Ask::Write {
            of: FileType::Pack,
            id: Id::random(),
        };
        let body = vec![7; LONGEST + 3];
        let sent = message(&ask, &[&body[..5], &body[5..]]).unwrap();
        for size in [1, 1000, sent.len()] {
            let mut incoming = Incoming::default();
            let mut came = Vec::new();
            for piece in [&sent[..], &sent].concat().chunks(size) {
                let mut piece = piece;
                while let Some(content) = incoming.take(piece).unwrap() {
                    came.push(parted::<Ask>(content).unwrap());
                    piece = &[];
                }
            }
            assert_eq!(came.len(), 2, "in pieces of {size}");
            assert!(
                came.iter()
                    .all(|(asked, bytes)| *asked == ask && bytes[..] == body[..])
            );
        }
        assert!(Incoming::default().take(b"\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn after_a_loss_no_snapshot_is_written() {
        let (remote, line) = Remote::new();
        remote.lose(Fault::source_changed(b"a", "it was written to"));
        let write = |of| remote.write_bytes(of, &Id::random(), false, BytesList::default());
        std::thread::scope(|scope| {
            let (done, end) = bounded::<()>(0);
            let answer = message(&Reply::Done, &[]).unwrap();
            scope.spawn(move || line.attend(&end, &mut &answer[..], &mut std::io::sink()));
            let said = write(FileType::Snapshot).unwrap_err().display_log();
            assert!(said.contains("it was written to"), "{said}");
            assert!(write(FileType::Pack).is_ok());
            drop(done);
        });
    }
}
