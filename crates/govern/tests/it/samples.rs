//! The samples beside the repository's contracts, as `sluice contract test` tries them.

use std::path::Path;

use serde_json::Value;
use sluice_govern::{SampleError, try_sample};

use crate::files;

#[test]
fn the_samples_of_the_repository_mask_to_what_stands_beside_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut tried = 0;
    for contract in files::contracts().iter() {
        let folder = root.join(&contract.folder).join("samples");
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_str().unwrap();
            if name.ends_with(".masked.json") || name.ends_with(".refused.json") {
                continue;
            }
            let read = |path: &Path| -> Option<Value> {
                Some(serde_json::from_str(&std::fs::read_to_string(path).ok()?).unwrap())
            };
            let came = try_sample(contract, &std::fs::read_to_string(&path).unwrap());
            match (read(&path.with_extension("masked.json")), read(&path.with_extension("refused.json"))) {
                (Some(expected), None) => assert_eq!(came, Ok(expected), "{name}"),
                (None, Some(expected)) => {
                    let Err(SampleError::Refused { path, .. }) = came else { panic!("{name}: {came:?}") };
                    assert_eq!(expected["path"], path.as_str(), "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
            tried += 1;
        }
    }
    assert_eq!(tried, 7);
}

#[test]
fn a_sample_that_is_no_record_is_said_without_quoting_it() {
    let contracts = files::contracts();
    let reading = contracts.iter().find(|contract| contract.id == "meter-reading").unwrap();
    let error = try_sample(reading, r#"{"mpan": "1", "secret": "Ada"}"#).unwrap_err();
    assert!(matches!(&error, SampleError::NoRecord { .. }), "{error}");
    assert!(!error.to_string().contains("Ada"), "{error}");
}
