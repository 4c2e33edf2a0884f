//! Writes an archive: for each member its header, what does not fit into that as pax records before it, and content.

use std::io::{self, BufWriter, Write};

use super::super::meta::Stamp;
use super::{BLOCK, Member, Stretch, What, padding, pax};

/// What is held before it goes out.
const HELD: usize = 256 << 10;

/// An archive that is being written.
pub struct Writer<'a> {
    out: BufWriter<&'a mut dyn Write>,
    written: u64,
    /// Of the content of this member, what is still to come.
    left: u64,
    padding: u64,
}

impl<'a> Writer<'a> {
    /// Begins one.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out: BufWriter::with_capacity(HELD, out),
            written: 0,
            left: 0,
            padding: 0,
        }
    }

    /// Begins a member; of a file so many bytes have to follow as it has data.
    ///
    /// # Errors
    /// When it cannot be written, or the member before is not complete.
    pub fn member(&mut self, member: &Member) -> io::Result<()> {
        self.complete()?;
        let (map, stored) = match &member.what {
            What::File {
                size,
                data: Some(data),
            } => {
                let map = map(data, *size);
                let stored = data.iter().map(|(_, len)| len).sum::<u64>() + map.len() as u64;
                (map, stored)
            }
            What::File { size, data: None } => (Vec::new(), *size),
            _ => (Vec::new(), 0),
        };
        let (header, records) = header(member, stored);
        if !records.is_empty() {
            let own = Fields {
                name: b"./PaxHeaders/0",
                mode: 0o644,
                size: records.len() as u64,
                kind: b'x',
                ..Fields::default()
            };
            self.put(&own.block())?;
            self.put(&records)?;
            self.zeros(padding(records.len() as u64))?;
        }
        self.put(&header.block())?;
        self.put(&map)?;
        self.left = stored - map.len() as u64;
        self.padding = padding(stored);
        Ok(())
    }

    /// The next bytes of the content; those of holes are left out.
    ///
    /// # Errors
    /// When they cannot be written, or were not announced.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::other("more content than the header says"))?;
        self.put(bytes)
    }

    /// Ends the archive; returns how long it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<u64> {
        self.complete()?;
        self.zeros(2 * BLOCK as u64)?;
        self.out.flush()?;
        Ok(self.written)
    }

    fn complete(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("less content than the header says"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.zeros(padding)
    }

    fn zeros(&mut self, len: u64) -> io::Result<()> {
        const ZEROS: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
        self.put(&ZEROS[..len as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// The map that precedes the content of a sparse file: decimal numbers, a line each, filled up to a block. From an empty
/// stretch at the end GNU tar knows how long a file is that ends with a hole.
fn map(data: &[Stretch], size: u64) -> Vec<u8> {
    let ends = data.last().is_some_and(|(at, len)| at + len == size);
    let last = (!ends).then_some((size, 0));
    let count = data.len() + usize::from(!ends);
    let lines = data.iter().copied().chain(last).flat_map(|(at, len)| [at, len]);
    let lines = lines.map(|number| number.to_string());
    let mut map = std::iter::once(count.to_string())
        .chain(lines)
        .flat_map(|line| line.into_bytes().into_iter().chain([b'\n']))
        .collect::<Vec<u8>>();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// The header of a member, and the records for what it cannot hold.
fn header(member: &Member, stored: u64) -> (Fields<'_>, Vec<u8>) {
    /// What eleven and seven octal digits hold.
    const LARGE: u64 = 1 << 33;
    const SMALL: u32 = 1 << 21;
    let mut records = Vec::new();
    let mut record = |key: &[u8], value: &[u8]| pax::record(&mut records, key, value);
    let mut fields = Fields {
        name: &member.path,
        mode: member.mode,
        ..Fields::default()
    };
    let none: &[u8] = &[];
    (fields.kind, fields.link, fields.device) = match &member.what {
        What::File { .. } => (b'0', none, None),
        What::Link(target) => (b'1', &target[..], None),
        What::Symlink(target) => (b'2', &target[..], None),
        What::Char(device) => (b'3', none, Some(*device)),
        What::Block(device) => (b'4', none, Some(*device)),
        What::Dir => (b'5', none, None),
        What::Fifo => (b'6', none, None),
    };
    if let What::File { size, data: Some(_) } = &member.what {
        // The name in the header is for readers that know nothing of sparse files.
        fields.name = b"./GNUSparseFile.0/0";
        record(b"GNU.sparse.major", b"1");
        record(b"GNU.sparse.minor", b"0");
        record(b"GNU.sparse.name", &member.path);
        record(b"GNU.sparse.realsize", size.to_string().as_bytes());
    } else if member.path.len() > NAME {
        record(b"path", &member.path);
    }
    if fields.link.len() > NAME {
        record(b"linkpath", fields.link);
    }
    if stored < LARGE {
        fields.size = stored;
    } else {
        record(b"size", stored.to_string().as_bytes());
    }
    for (key, id, field) in [
        (&b"uid"[..], member.owner.uid, &mut fields.uid),
        (b"gid", member.owner.gid, &mut fields.gid),
    ] {
        if id < SMALL {
            *field = id;
        } else {
            record(key, id.to_string().as_bytes());
        }
    }
    let Stamp { sec, nsec } = member.mtime;
    match u64::try_from(sec) {
        Ok(sec) if sec < LARGE => fields.mtime = sec,
        _ => {}
    }
    if nsec != 0 || i64::try_from(fields.mtime) != Ok(sec) {
        record(b"mtime", pax::time(member.mtime).as_bytes());
    }
    for (name, value) in &member.xattrs {
        record(&pax::xattr_key(name), value);
    }
    (fields, records)
}

/// What a name field holds.
const NAME: usize = 100;

/// The fields of a header that we write.
#[derive(Default)]
struct Fields<'a> {
    name: &'a [u8],
    mode: u16,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: u64,
    kind: u8,
    link: &'a [u8],
    device: Option<u32>,
}

impl Fields<'_> {
    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(NAME)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.uid).as_bytes());
        put(116, format!("{:07o}", self.gid).as_bytes());
        put(124, format!("{:011o}", self.size).as_bytes());
        put(136, format!("{:011o}", self.mtime).as_bytes());
        put(148, &[b' '; 8]);
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(NAME)]);
        put(257, b"ustar\x0000");
        if let Some(device) = self.device {
            put(329, format!("{:07o}", device >> 20).as_bytes());
            put(337, format!("{:07o}", device & 0xf_ffff).as_bytes());
        }
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}
