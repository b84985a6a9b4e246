//! The repository's contracts with the views over their tables.

use std::path::Path;

use crate::files::all;

/// Every contract file of the repository, and every view of the repository.
pub(crate) fn with_views() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut files = all();
    for folder in ["schemas/aviation/views", "schemas/metering/views"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            let text = std::fs::read_to_string(root.join(&path)).unwrap();
            files.push((path, text));
        }
    }
    assert_eq!(files.len(), 13);
    files
}
