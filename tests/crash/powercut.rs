//! Plays a power cut from the log of `tests/powercut/powercut.c`: what the folder holds when the power comes back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::chance::Chance;

/// A device writes a sector whole or not at all.
const SECTOR: u64 = 512;

const OPENED: u32 = 1;
const WRITTEN: u32 = 2;
const TRUNCATED: u32 = 3;
const SYNCED: u32 = 4;
const RENAMED: u32 = 5;
const REMOVED: u32 = 6;

/// A difference between the log and the folder of more than this is no call that was under way.
const UNDER_WAY_BYTES_MAX: usize = 1 << 20;

/// A folder under the layer, and where its log and its earlier content are kept.
#[derive(Debug)]
pub(crate) struct PowerCut {
    folder: PathBuf,
    before: PathBuf,
    log: PathBuf,
}

/// What became of the writes that no sync covered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) syncs: u64,
    pub(crate) unsynced: u64,
    pub(crate) sectors_kept: u64,
    pub(crate) sectors_lost: u64,
}

impl PowerCut {
    /// `folder` is to be recorded; `beside` is a folder for the records.
    pub(crate) fn new(folder: &Path, beside: &Path) -> Self {
        fs::create_dir_all(folder).expect("make the folder");
        fs::create_dir_all(beside).expect("make the folder of the records");
        Self {
            folder: folder.canonicalize().expect("the folder is there"),
            before: beside.join("before"),
            log: beside.join("log"),
        }
    }

    /// The variables under which the next process has to be started, from the folder as it is now.
    pub(crate) fn arm(&self) -> Vec<(&'static str, OsString)> {
        let _ = fs::remove_dir_all(&self.before);
        let _ = fs::remove_file(&self.log);
        for (name, bytes) in files(&self.folder) {
            let path = self.before.join(name);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("make a folder");
            fs::write(path, bytes).expect("keep a file");
        }
        vec![
            ("LD_PRELOAD", library().into()),
            ("POWERCUT_FOLDER", self.folder.clone().into()),
            ("POWERCUT_LOG", self.log.clone().into()),
        ]
    }

    /// The process is dead: makes of the folder what is left of it.
    pub(crate) fn strike(&self, chance: &mut Chance) -> Outcome {
        let mut played = Played::new(&self.before);
        played.apply(&self.folder, &fs::read(&self.log).unwrap_or_default());
        played.assert_complete(&self.folder);
        let mut outcome = Outcome {
            syncs: played.syncs,
            ..Outcome::default()
        };
        let left = played.cut(chance, &mut outcome);
        for (name, _) in files(&self.folder) {
            fs::remove_file(self.folder.join(name)).expect("remove a file");
        }
        for (name, bytes) in left {
            let path = self.folder.join(name);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("make a folder");
            fs::write(path, bytes).expect("write a file");
        }
        outcome
    }
}

/// Builds the layer once for this process.
fn library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let own = folder.join(format!("powercut-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/powercut/powercut.c");
        let status = Command::new("cc")
            .args([
                "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
            ])
            .arg(&own)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(
            status.expect("run cc").success(),
            "the layer does not build"
        );
        let shared = folder.join("powercut.so");
        fs::rename(own, &shared).expect("put the layer in place");
        shared
    });
    built.clone()
}

/// Names, relative to the folder, and contents of all files that can be lost.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    collect(folder, folder, &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("read the folder").path();
        let kind = fs::symlink_metadata(&path).expect("look at a file");
        if kind.is_dir() {
            collect(root, &path, found);
        } else if kind.is_file() {
            let bytes = fs::read(&path).expect("read a file");
            let name = path.strip_prefix(root).expect("below the folder");
            found.insert(name.to_owned(), bytes);
        }
    }
}

fn is_passed_over(name: &Path) -> bool {
    name.to_string_lossy().ends_with("-shm")
}

/// A change that no sync has covered yet.
#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Debug, Default)]
struct PlayedFile {
    durable: Vec<u8>,
    /// With the number of the record.
    pending: Vec<(u64, Change)>,
}

/// The files as the log tells them.
#[derive(Debug)]
struct Played {
    names: BTreeMap<PathBuf, usize>,
    files: Vec<PlayedFile>,
    handles: BTreeMap<u32, usize>,
    syncs: u64,
}

impl Played {
    fn new(before: &Path) -> Self {
        let mut played = Self {
            names: BTreeMap::new(),
            files: Vec::new(),
            handles: BTreeMap::new(),
            syncs: 0,
        };
        for (name, durable) in files(before) {
            if !is_passed_over(&name) {
                played.names.insert(name, played.files.len());
                played.files.push(PlayedFile {
                    durable,
                    pending: Vec::new(),
                });
            }
        }
        played
    }

    /// Carries out whole records; a kill may have left a part of one at the end.
    fn apply(&mut self, folder: &Path, log: &[u8]) {
        let mut rest = log;
        let mut number = 0;
        while let Some((head, tail)) = rest.split_at_checked(24) {
            let four = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four"));
            let offset = u64::from_le_bytes(head[8..16].try_into().expect("eight"));
            let (length, second) = (four(16) as usize, four(20) as usize);
            let Some((data, tail)) = tail.split_at_checked(length + second) else {
                break;
            };
            number += 1;
            let (first, last) = data.split_at(length);
            self.record(folder, number, (four(0), four(4), offset), first, last);
            rest = tail;
        }
    }

    fn record(
        &mut self,
        folder: &Path,
        number: u64,
        (kind, handle, offset): (u32, u32, u64),
        first: &[u8],
        last: &[u8],
    ) {
        let name = |bytes: &[u8]| {
            let path = PathBuf::from(String::from_utf8(bytes.to_vec()).expect("a plain name"));
            path.strip_prefix(folder)
                .expect("below the folder")
                .to_owned()
        };
        match kind {
            OPENED => self.opened(number, handle, name(first), offset & 1 == 1),
            WRITTEN => self.changed(number, handle, Change::Write(offset, first.to_vec())),
            TRUNCATED => self.changed(number, handle, Change::Truncate(offset)),
            SYNCED => {
                let file = self.handles.get(&handle).expect("a file that was opened");
                self.files[*file].sync(offset);
                self.syncs += 1;
            }
            RENAMED => {
                if let Some(file) = self.names.remove(&name(first)) {
                    self.names.insert(name(last), file);
                }
            }
            REMOVED => {
                self.names.remove(&name(first));
            }
            other => panic!("the log has a record of kind {other}"),
        }
    }

    fn opened(&mut self, number: u64, handle: u32, name: PathBuf, truncates: bool) {
        let file = *self.names.entry(name).or_insert_with(|| {
            self.files.push(PlayedFile::default());
            self.files.len() - 1
        });
        self.handles.insert(handle, file);
        if truncates {
            self.changed(number, handle, Change::Truncate(0));
        }
    }

    fn changed(&mut self, number: u64, handle: u32, change: Change) {
        let file = self.handles.get(&handle).expect("a file that was opened");
        self.files[*file].pending.push((number, change));
    }

    /// The log with everything applied is the folder, but for one call that was under way when the process died.
    fn assert_complete(&self, folder: &Path) {
        let mut different = Vec::new();
        for (name, found) in files(folder) {
            let Some(file) = self.names.get(&name) else {
                continue;
            };
            let told = self.files[*file].all();
            if told != found {
                let first = told.iter().zip(&found).take_while(|(a, b)| a == b).count();
                let same_length = told.len() == found.len();
                let end = told.iter().rev().zip(found.iter().rev());
                let last = end.take_while(|(a, b)| a == b).count();
                let last = if same_length { last } else { 0 };
                let bytes = told.len().max(found.len()) - first - last;
                different.push((name, bytes));
            }
        }
        let under_way = different.len() <= 1
            && different
                .iter()
                .all(|(_, bytes)| *bytes <= UNDER_WAY_BYTES_MAX);
        assert!(under_way, "writes went past the layer: {different:?}");
    }

    /// The files as they are when the power comes back.
    fn cut(&self, chance: &mut Chance, outcome: &mut Outcome) -> BTreeMap<PathBuf, Vec<u8>> {
        let fate = Fate::new(chance);
        let left = self.names.iter().map(|(name, file)| {
            let file = &self.files[*file];
            outcome.unsynced += file.pending.len() as u64;
            (name.clone(), file.cut(&fate, chance, outcome))
        });
        left.collect()
    }
}

/// What a cut does with the sectors that were not synced.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// None of them has reached the device.
    Lost,
    /// Whole calls have, each by chance.
    Calls(u64),
    /// Sectors have, each by chance: torn and out of order.
    Sectors(u64),
    /// The calls have up to some moment, the last one torn.
    Until(u64),
}

impl Fate {
    fn new(chance: &mut Chance) -> Self {
        match chance.below(4) {
            0 => Self::Lost,
            1 => Self::Calls(chance.between(10, 95)),
            2 => Self::Sectors(chance.between(10, 95)),
            _ => Self::Until(chance.between(0, 100)),
        }
    }
}

impl PlayedFile {
    fn sync(&mut self, through: u64) {
        let covered = self
            .pending
            .partition_point(|(number, _)| *number <= through);
        for (_, change) in self.pending.drain(..covered) {
            change.apply(&mut self.durable);
        }
    }

    fn all(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for (_, change) in &self.pending {
            change.apply(&mut bytes);
        }
        bytes
    }

    fn cut(&self, fate: &Fate, chance: &mut Chance, outcome: &mut Outcome) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let calls = self.pending.len() as u64;
        for (index, (_, change)) in self.pending.iter().enumerate() {
            let index = index as u64;
            let percent = match *fate {
                Fate::Lost => 0,
                Fate::Calls(percent) => 100 * u64::from(chance.percent(percent)),
                Fate::Sectors(percent) => percent,
                Fate::Until(part) if index < calls * part / 100 => 100,
                Fate::Until(part) if index == calls * part / 100 => 50,
                Fate::Until(_) => 0,
            };
            for sector in change.sectors() {
                if chance.percent(percent) {
                    sector.apply(&mut bytes);
                    outcome.sectors_kept += 1;
                } else {
                    outcome.sectors_lost += 1;
                }
            }
        }
        bytes
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let start = *offset as usize;
                let end = start + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(data);
            }
            Self::Truncate(size) => bytes.resize(*size as usize, 0),
        }
    }

    /// The parts that reach the device one by one.
    fn sectors(&self) -> Vec<Self> {
        let Self::Write(offset, data) = self else {
            return vec![self.clone()];
        };
        let mut parts = Vec::new();
        let mut at = *offset;
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            let length = (SECTOR - at % SECTOR).min(rest.len() as u64);
            let (part, tail) = rest.split_at(length as usize);
            parts.push(Self::Write(at, part.to_vec()));
            at += length;
            rest = tail;
        }
        parts
    }
}
