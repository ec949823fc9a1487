//! Which file systems a state folder may lie on.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::statfs;

use super::{FolderId, StateError};

/// Where locks, renames and fsync of another machine are promises that have been broken before.
const NETWORK: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x517B, "SMB"),
    (0x0102_1997, "9P"),
    (0x0BD0_0BD0, "Lustre"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x4750_4653, "GPFS"),
];

/// Set by who takes the risk.
const FORCE: &str = "CUPOLA_ALLOW_NETWORK_STATE";

/// Refuses a folder on a network file system.
pub(super) fn refuse_network(folder: &Path) -> Result<(), StateError> {
    let kind = statfs(folder).map_or(0, |stat| stat.f_type as u64 & 0xFFFF_FFFF);
    let name = NETWORK.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name);
    match name {
        Some(kind) if std::env::var_os(FORCE).is_none_or(|value| value != "1") => {
            Err(StateError::NetworkFolder { path: folder.to_path_buf(), kind })
        }
        _ => Ok(()),
    }
}

/// What tells a folder from a copy of it.
pub(super) fn folder_id(folder: &Path) -> FolderId {
    let meta = std::fs::metadata(folder);
    let id = |meta: std::fs::Metadata| FolderId {
        path: folder.to_path_buf(),
        device: meta.dev(),
        inode: meta.ino(),
    };
    meta.map_or_else(|_| FolderId::default(), id)
}
