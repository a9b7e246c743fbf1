//! Folders of fjall that are whole or not there, and what its failures mean.

use std::path::Path;

use engine::ports::{ErrorKind, PortError};

/// Makes what fjall keeps beside its place and moves it there when it is whole: fjall cannot open
/// what a crash left half made. Does nothing where the folder holds something.
pub(super) fn create(
    folder: &Path,
    make: impl FnOnce(&Path) -> Result<(), PortError>,
) -> Result<(), PortError> {
    let refused = |error: std::io::Error| {
        PortError::caused(ErrorKind::Unavailable, format!("make the folder {folder:?}"), error)
    };
    match std::fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Ok(());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error)),
    }
    let unfinished = folder.with_extension("unfinished");
    if unfinished.try_exists().map_err(refused)? {
        std::fs::remove_dir_all(&unfinished).map_err(refused)?;
    }
    make(&unfinished)?;
    std::fs::rename(&unfinished, folder).map_err(refused)?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = std::fs::File::open(parent.unwrap_or(Path::new("."))).map_err(refused)?;
    parent.sync_all().map_err(refused)
}

/// Whether a store is of the one format that this program knows.
///
/// # Errors
/// `Invalid` where it is of another, in words that say which.
pub(super) fn check_format(
    what: &str,
    folder: &Path,
    stored: Option<&[u8]>,
    known: u32,
) -> Result<(), PortError> {
    let number = stored.and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)));
    let found = match (number, stored) {
        (Some(number), _) if number == known => return Ok(()),
        (Some(number), _) => format!("format {number}"),
        (None, Some(bytes)) => format!("a format that is no number ({bytes:?})"),
        (None, None) => "no format".to_owned(),
    };
    let context = format!(
        "the {what} in {folder:?} have {found}, this program knows only {known}: use the program that \
         wrote them, or a newer one"
    );
    Err(PortError::new(ErrorKind::Invalid, context))
}

/// A failure to open, read or write; `doing` says what was tried, `cure` what helps where bytes are
/// damaged.
pub(super) fn failure(doing: &str, cure: &str, error: fjall::Error) -> PortError {
    use fjall::{Error, LsmError};
    let (kind, remedy) = match &error {
        Error::Locked => (ErrorKind::Conflict, "another process has it open"),
        Error::Io(_) | Error::Storage(LsmError::Io(_)) => {
            (ErrorKind::Unavailable, "the disk refused")
        }
        Error::InvalidVersion(_) | Error::Storage(LsmError::InvalidVersion(_)) => {
            (ErrorKind::Invalid, "its format is not known: use the program that wrote it")
        }
        Error::Poisoned => (ErrorKind::Corrupt, "a write failed before: restart the process"),
        _ => (ErrorKind::Corrupt, cure),
    };
    PortError::caused(kind, format!("{doing}: {remedy}"), error)
}
