//! Free ports of the loopback interface.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::StackError;

/// Returns `count` ports that were free a moment ago. They are the ports of a former start in `dir`, if those
/// are still free: addresses stay the same from run to run. Use `keep_former = false` after a server found
/// its port taken.
pub(crate) fn choose(dir: &Path, count: usize, keep_former: bool) -> Result<Vec<u16>, StackError> {
    let file = dir.join("ports");

    // The file holds the ports of the former start. A file that cannot be read means new ports.
    let former: Vec<u16> = std::fs::read_to_string(&file)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|port| port.parse().ok())
        .collect();

    // All ports are held until all are chosen: none is chosen twice.
    let mut held = Vec::with_capacity(count);
    for index in 0..count {
        let again = former.get(index).filter(|_| keep_former);
        let listener = again
            .and_then(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).ok())
            .map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok)
            .map_err(StackError::io("get a free port"))?;
        held.push(listener);
    }

    // Port 0 asks the system for a free port: its number is known only now.
    let ports = held
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(StackError::io("get a free port"))?;

    // The next start in this folder tries the same ports.
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
