//! Free ports of the loopback interface.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::StackError;

/// `count` ports that were free a moment ago; those a former start in `dir` had, if they still are, so that
/// addresses stay the same from run to run. `keep_former = false` after a server found one taken after all.
pub(crate) fn choose(dir: &Path, count: usize, keep_former: bool) -> Result<Vec<u16>, StackError> {
    let file = dir.join("ports");
    let former: Vec<u16> = std::fs::read_to_string(&file)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|port| port.parse().ok())
        .collect();
    let mut held = Vec::with_capacity(count); // all held until all are chosen, so that none is chosen twice
    for index in 0..count {
        let again = former.get(index).filter(|_| keep_former);
        let listener = again
            .and_then(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).ok())
            .map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok)
            .map_err(StackError::io("get a free port"))?;
        held.push(listener);
    }
    let ports = held
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(StackError::io("get a free port"))?;
    let text = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
    std::fs::write(&file, text).map_err(StackError::io(format!("write {}", file.display())))?;
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_kept_and_taken_ones_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = choose(dir.path(), 3, true).unwrap();
        assert_eq!(first, choose(dir.path(), 3, true).unwrap());
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first[1])).unwrap();
        let second = choose(dir.path(), 3, true).unwrap();
        assert_eq!((second[0], second[2]), (first[0], first[2]));
        assert_ne!(second[1], first[1]);
    }
}
