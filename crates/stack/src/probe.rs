//! Asks a server, in its own protocol, whether it is ready. One exchange, no client library.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The result of a probe: ready, or the answer that came instead.
pub(crate) type ServerReadiness = Result<(), String>;

/// Connects to a port of the loopback interface.
fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Returns an error's text for the last answer of a probe.
fn in_words(error: &io::Error) -> String {
    error.to_string()
}

/// Kafka is ready if a Metadata request (key 3, version 1) shows at least `nodes` brokers and a controller.
/// Request and response are those of the protocol guide, <https://kafka.apache.org/protocol>.
pub(crate) fn kafka(port: u16, nodes: usize) -> ServerReadiness {
    let answer = kafka_metadata(port).map_err(|error| in_words(&error))?;
    let (brokers, controller) =
        read_metadata(&answer).ok_or("expected a Metadata response, got another answer")?;
    match (brokers >= nodes, controller >= 0) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("expected {nodes} brokers, {brokers} registered")),
        (true, false) => Err("expected a controller, none is elected yet".to_owned()),
    }
}

/// Sends a Metadata request and returns the response without its length.
fn kafka_metadata(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = connect(port)?;

    // The request: a header of version 1 and an empty list of topics. In version 1 that means no topics.
    let mut request = Vec::from([0, 3, 0, 1]); // api key, api version
    request.extend(7_i32.to_be_bytes()); // correlation id
    request.extend([0, 5]);
    request.extend(b"probe"); // client id
    request.extend(0_i32.to_be_bytes()); // no topics
    let length = i32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[length.to_be_bytes().to_vec(), request].concat())?;

    // The response: a length of four bytes, and no more than a megabyte is read.
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size)).map_err(io::Error::other)?;
    let mut answer = vec![0; size.min(1 << 20)];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Returns (brokers, controller's id) of a Metadata response, version 1.
fn read_metadata(answer: &[u8]) -> Option<(usize, i32)> {
    let mut rest = answer.get(4..)?; // past the correlation id
    let brokers = take_i32(&mut rest)?;
    for _ in 0..brokers {
        take_i32(&mut rest)?; // id
        take_string(&mut rest)?; // host
        take_i32(&mut rest)?; // port
        take_string(&mut rest)?; // rack
    }
    Some((usize::try_from(brokers).ok()?, take_i32(&mut rest)?))
}

/// Takes a number of four bytes, the higher ones first.
fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*head))
}

/// Skips a string: a length of two bytes and its bytes.
fn take_string(bytes: &mut &[u8]) -> Option<()> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    // The length -1 stands for null.
    let length = usize::try_from(i16::from_be_bytes(*head)).unwrap_or(0);
    *bytes = rest.get(length..)?;
    Some(())
}

/// An HTTP server is ready if `GET path` answers 200.
pub(crate) fn http(port: u16, path: &str) -> ServerReadiness {
    let status = http_status(port, path).map_err(|error| in_words(&error))?;
    if status.contains(" 200 ") {
        Ok(())
    } else {
        Err(format!("{path}: expected status 200, got {}", status.trim()))
    }
}

/// Sends a request and returns the first line of the answer.
fn http_status(port: u16, path: &str) -> io::Result<String> {
    let mut stream = connect(port)?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;

    // The status line is enough. Up to 200 bytes of it are read, one by one.
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 200 && stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// `MariaDB` is ready if it greets a connection with protocol version 10. It does so after it has carried out
/// its init file.
pub(crate) fn mariadb(port: u16) -> ServerReadiness {
    let greet = || -> io::Result<u8> {
        // Three bytes of length, a sequence number, the version.
        let mut head = [0; 5];
        connect(port)?.read_exact(&mut head)?;
        Ok(head[4])
    };
    match greet().map_err(|error| in_words(&error))? {
        10 => Ok(()),
        // 255 is an error packet.
        other => Err(format!("expected a greeting of protocol version 10, got {other}")),
    }
}

/// `PostgreSQL` is ready if it answers a start-up packet with a request for authentication (`R`). Before that
/// it answers with an error (`E`, "starting up").
pub(crate) fn postgres(port: u16, user: &str) -> ServerReadiness {
    let ask = || -> io::Result<u8> {
        let mut stream = connect(port)?;

        // 196,608 is version 3.0 of the protocol (3 << 16). Names and values end in a zero, and so does the
        // list.
        let body = [&196_608_i32.to_be_bytes()[..], b"user\0", user.as_bytes(), b"\0database\0postgres\0\0"]
            .concat();
        let length = i32::try_from(body.len() + 4).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &body].concat())?;

        // The first byte of the answer is its kind.
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        Ok(kind[0])
    };
    match ask().map_err(|error| in_words(&error))? {
        b'R' => Ok(()),
        b'E' => Err("the server is still starting up".to_owned()),
        other => Err(format!("expected a request for authentication, got an answer of kind {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read() {
        let mut answer = vec![0, 0, 0, 7, 0, 0, 0, 1];
        answer.extend([0, 0, 0, 1, 0, 1, b'h', 0, 0, 1, 1, 0xff, 0xff]); // id 1, host h, port, no rack
        answer.extend([0, 0, 0, 1]); // controller
        assert_eq!(read_metadata(&answer), Some((1, 1)));
        assert_eq!(read_metadata(&answer[..15]), None);
    }

    #[test]
    fn nobody_there_is_not_ready() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(kafka(port, 1).is_err() && http(port, "/").is_err());
        assert!(mariadb(port).is_err() && postgres(port, "u").is_err());
    }
}
