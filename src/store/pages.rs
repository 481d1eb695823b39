//! The pages of a database file, read without SQLite: whatever is damaged, the rest is still there.
//!
//! The formats are those of <https://www.sqlite.org/fileformat2.html>. Nothing here trusts a length, a page number or a
//! pointer: what leads nowhere is counted and left out.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::types::ValueRef;

/// Bytes of a page; the only size that is ever written here.
const PAGE: usize = super::schema::PAGE_BYTES as usize;

/// Bytes at the beginning of the first page that are no part of its tree.
const FILE_HEADER: usize = 100;

const LEAF_TABLE: u8 = 13;
const LEAF_INDEX: u8 = 10;
const INNER_TABLE: u8 = 5;
const INNER_INDEX: u8 = 2;

/// Trees are never so deep.
const DEPTH_MAX: usize = 24;

/// A database file and what was committed to its write-ahead log.
#[derive(Debug)]
pub(super) struct Pages {
    file: File,
    log: Option<File>,
    /// Where the newest committed form of a page stands in the log.
    in_log: HashMap<u32, u64>,
    count: u32,
}

/// What a walk over pages found to be wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) pages: u64,
    pub(super) rows: u64,
}

/// Pages that a walk has been to.
#[derive(Clone, Debug)]
pub(super) struct Visited(Vec<bool>);

impl Visited {
    /// Whether the page exists and nobody has been there.
    pub(super) fn is_new(&self, page: u32) -> bool {
        let seen = usize::try_from(page).ok().and_then(|at| self.0.get(at));
        seen.is_some_and(|seen| page > 0 && !seen)
    }

    /// Whether the page exists and nobody has been there; from now on somebody has.
    fn enter(&mut self, page: u32) -> bool {
        let seen = usize::try_from(page).ok().and_then(|at| self.0.get_mut(at));
        seen.is_some_and(|seen| page > 0 && !std::mem::replace(seen, true))
    }
}

/// What a walk calls for each row: its number, where rows have one, and its values. Says whether the row is whole.
pub(super) type Visit<'a> = dyn FnMut(Option<i64>, &[ValueRef<'_>]) -> bool + 'a;

impl Pages {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut count = file.metadata()?.len() / PAGE as u64;
        let log = File::open(super::schema::beside(path, "-wal")).ok();
        let mut in_log = HashMap::new();
        if let Some(log) = &log {
            count = count.max(read_log(log, &mut in_log).into());
        }
        Ok(Self {
            file,
            log,
            in_log,
            count: u32::try_from(count).unwrap_or(u32::MAX - 1),
        })
    }

    pub(super) fn visited(&self) -> Visited {
        let count = usize::try_from(self.count).unwrap_or(0);
        Visited(vec![false; count + 1])
    }

    fn page(&self, number: u32) -> Option<Vec<u8>> {
        let mut page = vec![0; PAGE];
        let read = match (self.in_log.get(&number), &self.log) {
            (Some(at), Some(log)) => log.read_exact_at(&mut page, *at),
            _ => {
                let at = u64::from(number.checked_sub(1)?) * PAGE as u64;
                self.file.read_exact_at(&mut page, at)
            }
        };
        read.ok().map(|()| page)
    }

    /// Walks a tree from its root and gives every row of it to `visit`.
    pub(super) fn walk(
        &self,
        root: u32,
        visited: &mut Visited,
        damage: &mut Damage,
        visit: &mut Visit<'_>,
    ) {
        self.walk_below(root, 0, visited, damage, visit);
    }

    fn walk_below(
        &self,
        number: u32,
        depth: usize,
        visited: &mut Visited,
        damage: &mut Damage,
        visit: &mut Visit<'_>,
    ) {
        let page = (depth < DEPTH_MAX && visited.enter(number))
            .then(|| self.page(number))
            .flatten();
        let Some(tree) = page.as_deref().and_then(|page| Tree::parse(page, number)) else {
            damage.pages += 1;
            return;
        };
        for cell in tree.cells() {
            let Some(cell) = cell else {
                damage.rows += 1;
                continue;
            };
            if let Some(child) = cell.child {
                self.walk_below(child, depth + 1, visited, damage, visit);
            }
            self.visit_cell(&cell, visited, damage, visit);
        }
        if let Some(last) = tree.last_child {
            self.walk_below(last, depth + 1, visited, damage, visit);
        }
    }

    /// Gives every row of one page to `visit`, wherever its tree is.
    pub(super) fn scan(
        &self,
        number: u32,
        visited: &mut Visited,
        damage: &mut Damage,
        visit: &mut Visit<'_>,
    ) {
        let page = self.page(number);
        let Some(tree) = page.as_deref().and_then(|page| Tree::parse(page, number)) else {
            return;
        };
        for cell in tree.cells().flatten() {
            self.visit_cell(&cell, visited, damage, visit);
        }
    }

    fn visit_cell(
        &self,
        cell: &Cell<'_>,
        visited: &mut Visited,
        damage: &mut Damage,
        visit: &mut Visit<'_>,
    ) {
        let Some(local) = cell.payload else {
            return;
        };
        let payload = match cell.overflow {
            None => Some(local.to_vec()),
            Some(first) => self.whole(local, cell.length, first, visited),
        };
        let is_whole = payload
            .and_then(|payload| values(&payload).map(|values| visit(cell.row, &values)))
            .unwrap_or(false);
        if !is_whole {
            damage.rows += 1;
        }
    }

    /// A payload with what stands on pages of its own.
    fn whole(
        &self,
        local: &[u8],
        length: usize,
        first: u32,
        visited: &mut Visited,
    ) -> Option<Vec<u8>> {
        let available = usize::try_from(self.count).ok()?.saturating_mul(PAGE);
        if length > available {
            return None;
        }
        let mut payload = local.to_vec();
        let mut next = first;
        while payload.len() < length {
            if !visited.enter(next) {
                return None;
            }
            let page = self.page(next)?;
            next = number_at(&page, 0)?;
            let rest = (length - payload.len()).min(PAGE - 4);
            payload.extend_from_slice(page.get(4..4 + rest)?);
        }
        Some(payload)
    }

    /// Pages that no walk has been to and that are not free. None if the list of free pages is damaged: then nobody can say
    /// what is old.
    pub(super) fn unvisited(&self, visited: &Visited) -> Option<Vec<u32>> {
        let header = self.page(1)?;
        let mut known = visited.clone();
        let (mut trunk, mut free) = (number_at(&header, 32)?, number_at(&header, 36)?);
        while trunk != 0 {
            if !known.enter(trunk) {
                return None;
            }
            let page = self.page(trunk)?;
            let leaves = number_at(&page, 4)?;
            free = free.checked_sub(leaves.checked_add(1)?)?;
            for leaf in 0..usize::try_from(leaves).ok()? {
                if !known.enter(number_at(&page, 8 + 4 * leaf)?) {
                    return None;
                }
            }
            trunk = number_at(&page, 0)?;
        }
        let pages = (1..=self.count).filter(|page| known.enter(*page));
        (free == 0).then(|| pages.collect())
    }
}

/// A page of a tree.
struct Tree<'a> {
    page: &'a [u8],
    kind: u8,
    cells: usize,
    pointers: usize,
    last_child: Option<u32>,
}

/// One entry of a page.
struct Cell<'a> {
    child: Option<u32>,
    row: Option<i64>,
    /// Bytes of the whole payload.
    length: usize,
    /// What of it stands on the page; none if the entry has no payload.
    payload: Option<&'a [u8]>,
    overflow: Option<u32>,
}

impl<'a> Tree<'a> {
    fn parse(page: &'a [u8], number: u32) -> Option<Self> {
        let at = if number == 1 { FILE_HEADER } else { 0 };
        let kind = *page.get(at)?;
        let is_inner = match kind {
            LEAF_TABLE | LEAF_INDEX => false,
            INNER_TABLE | INNER_INDEX => true,
            _ => return None,
        };
        let cells = usize::from(short_at(page, at + 3)?);
        let pointers = at + if is_inner { 12 } else { 8 };
        let last_child = if is_inner {
            Some(number_at(page, at + 8)?)
        } else {
            None
        };
        // More would not fit.
        (pointers + 2 * cells <= page.len()).then_some(Self {
            page,
            kind,
            cells,
            pointers,
            last_child,
        })
    }

    fn cells(&self) -> impl Iterator<Item = Option<Cell<'a>>> + '_ {
        (0..self.cells).map(|index| {
            let at = usize::from(short_at(self.page, self.pointers + 2 * index)?);
            self.cell(self.page.get(at..)?)
        })
    }

    fn cell(&self, bytes: &'a [u8]) -> Option<Cell<'a>> {
        let mut rest = bytes;
        let child = if matches!(self.kind, INNER_TABLE | INNER_INDEX) {
            let child = number_at(rest, 0)?;
            rest = rest.get(4..)?;
            Some(child)
        } else {
            None
        };
        if self.kind == INNER_TABLE {
            return Some(Cell {
                child,
                row: None,
                length: 0,
                payload: None,
                overflow: None,
            });
        }
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let row = if self.kind == LEAF_TABLE {
            Some(varint(&mut rest)?.cast_signed())
        } else {
            None
        };
        let local = local_bytes(length, self.kind == LEAF_TABLE);
        let payload = rest.get(..local)?;
        let overflow = if local < length {
            Some(number_at(rest, local)?)
        } else {
            None
        };
        Some(Cell {
            child,
            row,
            length,
            payload: Some(payload),
            overflow,
        })
    }
}

/// How much of a payload stands on the page itself.
fn local_bytes(length: usize, is_table: bool) -> usize {
    let most = if is_table {
        PAGE - 35
    } else {
        (PAGE - 12) * 64 / 255 - 23
    };
    if length <= most {
        return length;
    }
    let least = (PAGE - 12) * 32 / 255 - 23;
    let fitting = least + (length - least) % (PAGE - 4);
    if fitting <= most { fitting } else { least }
}

/// The values of a record.
fn values(payload: &[u8]) -> Option<Vec<ValueRef<'_>>> {
    let mut rest = payload;
    let header = usize::try_from(varint(&mut rest)?).ok()?;
    let mut kinds = payload.get(payload.len() - rest.len()..header)?;
    let mut body = payload.get(header..)?;
    let mut values = Vec::new();
    while !kinds.is_empty() {
        values.push(value(varint(&mut kinds)?, &mut body)?);
    }
    Some(values)
}

fn value<'a>(kind: u64, body: &mut &'a [u8]) -> Option<ValueRef<'a>> {
    let length = match kind {
        0 | 8 | 9 => 0,
        1..=4 => usize::try_from(kind).ok()?,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return None,
        _ => usize::try_from((kind - 12) / 2).ok()?,
    };
    let (bytes, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(match kind {
        0 => ValueRef::Null,
        8 => ValueRef::Integer(0),
        9 => ValueRef::Integer(1),
        1..=6 => {
            let is_negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
            let begun = if is_negative { -1 } else { 0 };
            let number = bytes
                .iter()
                .fold(begun, |number: i64, byte| (number << 8) | i64::from(*byte));
            ValueRef::Integer(number)
        }
        7 => return None,
        kind if kind % 2 == 0 => ValueRef::Blob(bytes),
        _ => ValueRef::Text(bytes),
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for index in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if index == 8 {
            return Some((value << 8) | u64::from(*byte));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    let found = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*found))
}

fn short_at(bytes: &[u8], at: usize) -> Option<u16> {
    let found = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*found))
}

const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Notes where the committed pages of a write-ahead log stand, and returns how many pages the database has with them.
fn read_log(log: &File, in_log: &mut HashMap<u32, u64>) -> u32 {
    let mut header = [0; LOG_HEADER];
    if log.read_exact_at(&mut header, 0).is_err() {
        return 0;
    }
    let is_big = match number_at(&header, 0) {
        Some(0x377f_0682) => false,
        Some(0x377f_0683) => true,
        _ => return 0,
    };
    let Some((covered, sums)) = header.split_at_checked(24) else {
        return 0;
    };
    let mut sum = checksum((0, 0), covered, is_big);
    if !is_sum(sums, sum) || number_at(&header, 8) != u32::try_from(PAGE).ok() {
        return 0;
    }
    let mut at = LOG_HEADER as u64;
    let mut frame = [0; FRAME_HEADER + PAGE];
    let mut open: Vec<(u32, u64)> = Vec::new();
    let mut count = 0;
    while log.read_exact_at(&mut frame, at).is_ok() {
        let (head, page) = frame.split_at(FRAME_HEADER);
        let is_current = head.get(8..16) == header.get(16..24);
        sum = checksum(sum, head.get(..8).unwrap_or_default(), is_big);
        sum = checksum(sum, page, is_big);
        if !is_current || !is_sum(head.get(16..).unwrap_or_default(), sum) {
            break;
        }
        let number = number_at(head, 0).unwrap_or(0);
        open.push((number, at + FRAME_HEADER as u64));
        // The last frame of a transaction says how large the database is after it.
        if let Some(size) = number_at(head, 4).filter(|size| *size > 0) {
            in_log.extend(open.drain(..));
            count = size;
        }
        at += frame.len() as u64;
    }
    count
}

fn checksum(from: (u32, u32), bytes: &[u8], is_big: bool) -> (u32, u32) {
    let (words, _) = bytes.as_chunks::<4>();
    let (pairs, _) = words.as_chunks::<2>();
    let number = |word: [u8; 4]| {
        if is_big {
            u32::from_be_bytes(word)
        } else {
            u32::from_le_bytes(word)
        }
    };
    pairs.iter().fold(from, |(first, second), [one, two]| {
        let first = first.wrapping_add(number(*one)).wrapping_add(second);
        let second = second.wrapping_add(number(*two)).wrapping_add(first);
        (first, second)
    })
}

fn is_sum(bytes: &[u8], (first, second): (u32, u32)) -> bool {
    number_at(bytes, 0) == Some(first) && number_at(bytes, 4) == Some(second)
}
