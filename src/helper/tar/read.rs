//! Reads an archive, member by member, whoever wrote it: v7, ustar, pax, GNU with its long names and sparse files.
//!
//! It believes nothing: a damaged header, a length that does not fit, and an archive that ends before its end are
//! refused. What a member's path may be is decided by whoever unpacks it.

use std::io::{ErrorKind, Read};

use super::super::attrs;
use super::super::fault::{Fault, Result, show};
use super::super::meta::{Stamp, device};
use super::super::protocol::FailClass;
use super::{BLOCK, Member, STRETCHES, Stretch, What, padding, pax};
use crate::model::Owner;

/// Headers of a member that are no member themselves: a long name, attributes. Of a member with the largest attributes
/// that Linux knows in number they have less.
const LONGEST: u64 = 16 << 20;

/// An archive that is being read.
pub struct Reader<'a> {
    from: &'a mut (dyn Read + Send),
    /// Where in the archive we are.
    at: u64,
    /// Of this member's stored content what is still unread, and what fills up its last block.
    left: u64,
    padding: u64,
    place: Place,
    /// What holds for all members that follow.
    global: Extended,
}

/// Where in the file the next bytes of content belong.
enum Place {
    Plain(u64),
    /// Stretches in reverse: the last is the next.
    Sparse(Vec<Stretch>),
}

/// What precedes a header and holds for it.
#[derive(Debug, Clone, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Stamp>,
    xattrs: attrs::Xattrs,
    sparse: Option<Sparse>,
}

/// The sparse file of a pax header, in any of its three versions.
#[derive(Debug, Clone, Default)]
struct Sparse {
    major: u64,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Versions 0.0 and 0.1.
    map: Vec<u64>,
}

impl<'a> Reader<'a> {
    /// From its beginning.
    pub fn new(from: &'a mut (dyn Read + Send)) -> Self {
        Self {
            from,
            at: 0,
            left: 0,
            padding: 0,
            place: Place::Plain(0),
            global: Extended::default(),
        }
    }

    /// The next member; what is unread of the one before is passed over. `None` at the archive's end, behind which is
    /// nothing.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or ends before its end.
    pub fn member(&mut self) -> Result<Option<Member>> {
        self.pass_over()?;
        let mut extended = self.global.clone();
        loop {
            let header = self.block()?;
            if header.iter().all(|byte| *byte == 0) {
                return self.end().map(|()| None);
            }
            self.check(&header)?;
            let size = self.number(&header[124..136])?;
            match header[156] {
                b'x' | b'X' => {
                    let records = self.whole(size)?;
                    self.records(&records, &mut extended)?;
                }
                b'g' => {
                    let records = self.whole(size)?;
                    let mut global = std::mem::take(&mut self.global);
                    self.records(&records, &mut global)?;
                    self.records(&records, &mut extended)?;
                    self.global = global;
                }
                b'L' => extended.path = Some(name(&self.whole(size)?)),
                b'K' => extended.link = Some(name(&self.whole(size)?)),
                // The name of the volume.
                b'V' => self.skip(size)?,
                kind => return self.entry(&header, kind, size, extended).map(Some),
            }
        }
    }

    /// The next piece of this member's content: where it belongs in the file, and how much of the buffer it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn piece(&mut self, buffer: &mut [u8]) -> Result<Option<(u64, usize)>> {
        let (at, room) = match &mut self.place {
            Place::Plain(at) => (*at, self.left),
            Place::Sparse(stretches) => loop {
                match stretches.last() {
                    Some((_, 0)) => stretches.pop(),
                    Some((at, len)) => break (*at, *len),
                    None => return Ok(None),
                };
            },
        };
        let len = room.min(self.left).min(buffer.len() as u64) as usize;
        if len == 0 {
            return Ok(None);
        }
        self.fill(&mut buffer[..len])?;
        self.left -= len as u64;
        match &mut self.place {
            Place::Plain(at) => *at += len as u64,
            Place::Sparse(stretches) => {
                if let Some((at, rest)) = stretches.last_mut() {
                    *at += len as u64;
                    *rest -= len as u64;
                }
            }
        }
        Ok(Some((at, len)))
    }

    fn broken(&self, because: impl Into<String>) -> Fault {
        let what = format!("the archive cannot be read at its byte {}", self.at);
        Fault::refused(what, because)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.from.read_exact(buffer) {
            Ok(()) => {
                self.at += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.broken("it ends before its end: a part of it is missing"))
            }
            Err(error) => Err(Fault::new(
                FailClass::Other,
                "the archive does not come",
                error.to_string(),
            )),
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        Ok(block)
    }

    /// The content of a header that is no member.
    fn whole(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > LONGEST {
            return Err(self.broken(format!("a header of {size} bytes")));
        }
        let mut bytes = vec![0; size as usize];
        self.fill(&mut bytes)?;
        self.skip_exactly(padding(size))?;
        Ok(bytes)
    }

    fn skip(&mut self, size: u64) -> Result<()> {
        self.skip_exactly(size)?;
        self.skip_exactly(padding(size))
    }

    fn skip_exactly(&mut self, mut len: u64) -> Result<()> {
        let mut room = [0; 16 << 10];
        while len > 0 {
            let part = len.min(room.len() as u64);
            self.fill(&mut room[..part as usize])?;
            len -= part;
        }
        Ok(())
    }

    fn pass_over(&mut self) -> Result<()> {
        let (left, padding) = (std::mem::take(&mut self.left), std::mem::take(&mut self.padding));
        self.skip_exactly(left)?;
        self.skip_exactly(padding)
    }

    /// The second empty block, and after it nothing but what fills up a tape's record.
    fn end(&mut self) -> Result<()> {
        let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if !zeros(&self.block()?) {
            return Err(self.broken("an empty block is where a header should be"));
        }
        let mut room = [0; 16 << 10];
        loop {
            match self.from.read(&mut room) {
                Ok(0) => return Ok(()),
                Ok(len) if zeros(&room[..len]) => self.at += len as u64,
                Ok(_) => return Err(self.broken("something follows its end")),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Fault::new(
                        FailClass::Other,
                        "the archive does not come to its end",
                        error.to_string(),
                    ));
                }
            }
        }
    }

    fn check(&self, header: &[u8; BLOCK]) -> Result<()> {
        let wanted = self.number(&header[148..156])?;
        let sum = |value: fn(u8) -> i64| -> i64 {
            let counted = header.iter().enumerate();
            counted
                .map(|(at, byte)| value(if (148..156).contains(&at) { b' ' } else { *byte }))
                .sum()
        };
        // Old programs took bytes for signed.
        let sums = [sum(i64::from), sum(|byte| i64::from(byte as i8))];
        if sums.into_iter().any(|sum| u64::try_from(sum) == Ok(wanted)) {
            return Ok(());
        }
        Err(self.broken("a header does not match its checksum: it is damaged, or this is no tar archive"))
    }

    /// A number in octal digits, or, where those would not do, in binary.
    fn number(&self, field: &[u8]) -> Result<u64> {
        let bad = || self.broken(format!("{:?} is no number", show(field)));
        match self.signed(field)? {
            Some(number) => u64::try_from(number).map_err(|_| bad()),
            None => Err(bad()),
        }
    }

    fn signed(&self, field: &[u8]) -> Result<Option<i64>> {
        if let Some((&first, rest)) = field.split_first()
            && first & 0x80 != 0
        {
            let (negative, first) = (first & 0x40 != 0, i128::from(first & 0x3f));
            let mut number = if negative { first - 64 } else { first };
            for byte in rest {
                number = number
                    .checked_mul(256)
                    .map(|number| number | i128::from(*byte))
                    .ok_or_else(|| self.broken("a number without end"))?;
            }
            return Ok(i64::try_from(number).ok());
        }
        let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = text.trim_ascii();
        if text.is_empty() {
            return Ok(Some(0));
        }
        let digits = std::str::from_utf8(text).ok();
        Ok(digits.and_then(|digits| i64::from_str_radix(digits, 8).ok().filter(|number| *number >= 0)))
    }

    fn records(&self, mut bytes: &[u8], to: &mut Extended) -> Result<()> {
        let decimal = |value: &[u8]| -> Result<u64> {
            std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| self.broken(format!("{:?} is no number", show(value))))
        };
        while !bytes.is_empty() {
            let Some((key, value, rest)) = pax::split(bytes) else {
                return Err(self.broken("a pax header is damaged"));
            };
            bytes = rest;
            match key {
                b"path" => to.path = Some(value.to_vec()),
                b"linkpath" => to.link = Some(value.to_vec()),
                b"size" => to.size = Some(decimal(value)?),
                b"uid" => to.uid = Some(decimal(value)?),
                b"gid" => to.gid = Some(decimal(value)?),
                b"mtime" => {
                    let bad = || self.broken(format!("{:?} is no time", show(value)));
                    to.mtime = Some(pax::read_time(value).ok_or_else(bad)?);
                }
                _ => {
                    if let Some(name) = pax::xattr_name(key).filter(|name| attrs::is_data(name)) {
                        to.xattrs.retain(|(known, _)| *known != name);
                        to.xattrs.push((name, value.to_vec()));
                    } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse(key, value, to.sparse.get_or_insert_default(), decimal)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn sparse(
        &self,
        key: &[u8],
        value: &[u8],
        to: &mut Sparse,
        decimal: impl Fn(&[u8]) -> Result<u64>,
    ) -> Result<()> {
        match key {
            b"major" => to.major = decimal(value)?,
            b"name" => to.name = Some(value.to_vec()),
            b"size" | b"realsize" => to.size = Some(decimal(value)?),
            b"offset" | b"numbytes" => to.map.push(decimal(value)?),
            b"map" => {
                let numbers = value.split(|byte| *byte == b',');
                to.map = numbers.map(decimal).collect::<Result<_>>()?;
            }
            _ => {}
        }
        Ok(())
    }

    fn entry(&mut self, header: &[u8; BLOCK], kind: u8, size: u64, mut extended: Extended) -> Result<Member> {
        let mut stored = extended.size.unwrap_or(size);
        let mut path = extended.path.take().unwrap_or_else(|| path(header));
        let link = extended.link.take().unwrap_or_else(|| name(&header[157..257]));
        let devices = |this: &Self| -> Result<u32> {
            let numbers = [this.number(&header[329..337])?, this.number(&header[337..345])?];
            match numbers.map(u32::try_from) {
                [Ok(major @ ..4096), Ok(minor @ ..=0xf_ffff)] => Ok(device(major, minor)),
                _ => Err(this.broken("a device has a number that Linux does not know")),
            }
        };
        let mut data = None;
        let what = match kind {
            // Before ustar a directory was a file with a slash.
            b'0' | 0 | b'7' if path.ends_with(b"/") => What::Dir,
            b'0' | 0 | b'7' | b'S' => {
                let mut size = stored;
                let sparse = extended.sparse.take();
                if kind == b'S' {
                    data = Some(self.old_map(header)?);
                    size = self.number(&header[483..495])?;
                } else if let Some(sparse) = sparse {
                    path = sparse.name.clone().unwrap_or(path);
                    let map = if sparse.major == 0 {
                        pairs(&sparse.map)
                    } else {
                        let (map, taken) = self.map(stored)?;
                        stored -= taken;
                        Some(map)
                    };
                    data = Some(map.ok_or_else(|| self.broken("the map of a sparse file is damaged"))?);
                    let unsized_file = || self.broken("a sparse file without a length");
                    size = sparse.size.ok_or_else(unsized_file)?;
                }
                if let Some(data) = &data {
                    self.fits(data, size, stored)?;
                }
                What::File {
                    size,
                    data: data.clone(),
                }
            }
            b'1' => What::Link(link),
            b'2' => What::Symlink(link),
            b'3' => What::Char(devices(self)?),
            b'4' => What::Block(devices(self)?),
            b'5' | b'D' => What::Dir,
            b'6' => What::Fifo,
            other => {
                let kind = show(&[other]);
                let what = format!(
                    "the archive cannot be unpacked: {} is of type {kind}",
                    show(&path)
                );
                return Err(Fault::refused(what, "this type is not known here"));
            }
        };
        // As GNU tar takes it: whatever the header of a further name says, nothing follows it.
        if matches!(what, What::Link(_)) {
            stored = 0;
        }
        let id = |this: &Self, number: u64| {
            let number = u32::try_from(number).ok().filter(|number| *number != u32::MAX);
            number
                .ok_or_else(|| this.broken(format!("{} has an owner that Linux does not know", show(&path))))
        };
        let numbers = |this: &Self, given: Option<u64>, field: &[u8]| match given {
            Some(number) => id(this, number),
            None => id(this, this.number(field)?),
        };
        let owner = Owner {
            uid: numbers(self, extended.uid, &header[108..116])?,
            gid: numbers(self, extended.gid, &header[116..124])?,
        };
        let mtime = match extended.mtime {
            Some(stamp) => stamp,
            None => Stamp {
                sec: self
                    .signed(&header[136..148])?
                    .ok_or_else(|| self.broken("a time is no number"))?,
                nsec: 0,
            },
        };
        let mode = self.number(&header[100..108])? & 0o7777;
        let mut xattrs = extended.xattrs;
        xattrs.sort_unstable();
        self.left = stored;
        // The map of a sparse file is as long as whole blocks are.
        self.padding = padding(stored);
        self.place = match data {
            Some(mut data) => {
                data.reverse();
                Place::Sparse(data)
            }
            None => Place::Plain(0),
        };
        Ok(Member {
            path,
            what,
            mode: mode as u16,
            owner,
            mtime,
            xattrs,
        })
    }

    /// Whether a map goes forwards, stays within the file, and is of as much as is stored.
    fn fits(&self, data: &[Stretch], size: u64, stored: u64) -> Result<()> {
        let (mut end, mut sum) = (0u64, 0u64);
        for (at, len) in data {
            let last = at.checked_add(*len).filter(|last| *at >= end && *last <= size);
            end = last.ok_or_else(|| self.broken("the map of a sparse file contradicts itself"))?;
            sum += len;
        }
        if sum != stored {
            return Err(self.broken("a sparse file has more or less content than its map says"));
        }
        Ok(())
    }

    /// The map before the content (version 1.0), and how much of that it took.
    fn map(&mut self, stored: u64) -> Result<(Vec<Stretch>, u64)> {
        let mut text = Vec::new();
        let mut taken = 0;
        let (mut numbers, mut wanted): (Vec<u64>, Option<usize>) = (Vec::new(), None);
        let damaged = |this: &Self| this.broken("the map of a sparse file is damaged");
        loop {
            if taken + BLOCK as u64 > stored {
                return Err(damaged(self));
            }
            let block = self.block()?;
            taken += BLOCK as u64;
            for byte in block {
                match byte {
                    b'0'..=b'9' if text.len() < 20 => text.push(byte),
                    b'\n' => {
                        let number: Option<u64> =
                            std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok());
                        let number = number.ok_or_else(|| damaged(self))?;
                        text.clear();
                        match wanted {
                            None => {
                                let count = usize::try_from(number).ok().filter(|count| *count <= STRETCHES);
                                wanted = Some(2 * count.ok_or_else(|| damaged(self))?);
                            }
                            Some(_) => numbers.push(number),
                        }
                    }
                    _ => return Err(damaged(self)),
                }
                if wanted == Some(numbers.len()) {
                    return Ok((pairs(&numbers).unwrap_or_default(), taken));
                }
            }
        }
    }

    /// The map of GNU tar's own format: four stretches in the header, more in blocks of 21 behind it.
    fn old_map(&mut self, header: &[u8; BLOCK]) -> Result<Vec<Stretch>> {
        let mut data = Vec::new();
        let mut take = |this: &Self, fields: &[u8]| -> Result<()> {
            for field in fields.chunks_exact(24) {
                if field[0] == 0 {
                    break;
                }
                data.push((this.number(&field[..12])?, this.number(&field[12..])?));
            }
            if data.len() > STRETCHES {
                return Err(this.broken("a sparse file in too many pieces"));
            }
            Ok(())
        };
        take(self, &header[386..482])?;
        let mut more = header[482] != 0;
        while more {
            let block = self.block()?;
            take(self, &block[..504])?;
            more = block[504] != 0;
        }
        Ok(data)
    }
}

fn pairs(numbers: &[u64]) -> Option<Vec<Stretch>> {
    let pairs = numbers.chunks_exact(2);
    let even = pairs.remainder().is_empty() && numbers.len() <= 2 * STRETCHES;
    even.then(|| pairs.map(|pair| (pair[0], pair[1])).collect())
}

/// A text up to the first NUL.
fn name(field: &[u8]) -> Vec<u8> {
    field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// The path in a header; a long one of ustar is in two parts.
fn path(header: &[u8; BLOCK]) -> Vec<u8> {
    let last = name(&header[..100]);
    // In GNU's own format something else is there.
    let prefix = if &header[257..263] == b"ustar\0" {
        name(&header[345..500])
    } else {
        Vec::new()
    };
    if prefix.is_empty() {
        return last;
    }
    [&prefix[..], b"/", &last[..]].concat()
}
