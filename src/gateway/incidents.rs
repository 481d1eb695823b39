//! What happened to the machine before the gateway started. It is told until the next start.

use std::path::Path;

use tracing::warn;

use super::BootImport;
use super::alarms::alarm;
use crate::admin::Alarm;

/// Folder beside that of the gateway where the check of the data partition leaves what it did
/// (systemd/appliance/libexec/data-prepare).
const DATA_FOLDER: &str = "fieldgate-data";

/// Name of the alarm that files of the boot partition were refused. Consoles show the whole text as well.
pub const BOOT_IMPORT: &str = "boot-import";

/// Alarms about what is found beside the runtime folder, and in the folder of the main configuration file.
pub(super) fn incidents(runtime_dir: &Path, main: Option<&Path>) -> Vec<Alarm> {
    let data = runtime_dir.with_file_name(DATA_FOLDER);
    let did = |name: &str| data.join(name).exists();
    let mut alarms = Vec::new();
    if did("made-again") {
        let text = "the data partition was beyond repair and was made again: users, certificates, messages and configuration \
                    that were on it are lost";
        alarms.push(alarm("data-partition", "made-again", text.to_owned()));
    } else if did("repaired") {
        let text = "the data partition was damaged and was repaired at this start: the medium may be failing";
        alarms.push(alarm("data-partition", "repaired", text.to_owned()));
    }
    match main.and_then(Path::parent).map(BootImport::last_errors) {
        Some(Ok(Some(_))) => {
            let text = "files on the boot partition are not right, and none of them was taken: `fieldgate console` and \
                        fieldgate/errors.txt beside them say why";
            alarms.push(alarm(BOOT_IMPORT, "", text.to_owned()));
        }
        Some(Err(error)) => {
            warn!(%error, "it is not known whether files on the boot partition were refused");
        }
        Some(Ok(None)) | None => {}
    }
    alarms
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_done_to_the_data_partition_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path().join("fieldgate");
        let data = folder.path().join(DATA_FOLDER);
        let names = || -> Vec<String> {
            let alarms = incidents(&run, None);
            alarms
                .into_iter()
                .map(|it| format!("{} {}", it.name, it.subject))
                .collect()
        };
        assert_eq!(names(), [""; 0]);
        fs::create_dir(&data).expect("a folder");
        fs::write(data.join("repaired"), "").expect("write");
        assert_eq!(names(), ["data-partition repaired"]);
        // What was repaired before it was found to be beyond repair is of no interest.
        fs::write(data.join("made-again"), "").expect("write");
        assert_eq!(names(), ["data-partition made-again"]);
    }

    #[test]
    fn refused_card_is_told_and_what_cannot_be_read_is_no_card() {
        let folder = tempfile::tempdir().expect("a folder");
        let main = folder.path().join("gateway.toml");
        let work = folder.path().join(".import");
        let count = || incidents(&folder.path().join("run"), Some(&main)).len();
        assert_eq!(count(), 0);
        fs::write(&work, "").expect("write");
        assert_eq!(count(), 0);
        fs::remove_file(&work).expect("remove");
        fs::create_dir(&work).expect("a folder");
        fs::write(work.join("errors.txt"), "").expect("write");
        assert_eq!(count(), 1);
    }
}
