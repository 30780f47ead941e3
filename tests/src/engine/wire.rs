//! HTTP/1.1 by hand: just enough to read what the mesh sends and to answer it in ways that no proper server
//! would. Not a server for anything else.

use std::{io, str::FromStr};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};

use super::Call;

/// Bound of what is read of one request: above every body that a test sends.
const REQUEST_MAX_BYTES: usize = 64 << 20;

/// Reads one request; `None` at the end of the connection.
pub(super) async fn read_request(
    read: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
) -> io::Result<Option<Call>> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at;
        }
        if !fill(read, buffer).await? {
            return Ok(None);
        }
    };
    let head = buffer.split_to(end + 4);
    let head = String::from_utf8_lossy(&head[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value.trim())) {
            headers.append(name, value);
        }
    }
    let body = read_body(read, buffer, &headers).await?;
    Ok(Some(Call::new(method.into(), path.into(), headers, body)))
}

async fn read_body(
    read: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    headers: &HeaderMap,
) -> io::Result<Bytes> {
    let length = headers.get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if let Some(length) = length {
        return read_exactly(read, buffer, length).await;
    }
    if !headers.contains_key(http::header::TRANSFER_ENCODING) {
        return Ok(Bytes::new());
    }
    let mut body = BytesMut::new();
    loop {
        let end = loop {
            if let Some(at) = find(buffer, b"\r\n") {
                break at;
            }
            more(read, buffer).await?;
        };
        let line = buffer.split_to(end + 2);
        let size = std::str::from_utf8(&line[..end]).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
        let size = size.ok_or(io::ErrorKind::InvalidData)?;
        body.extend_from_slice(&read_exactly(read, buffer, size).await?);
        read_exactly(read, buffer, 2).await?;
        if size == 0 {
            return Ok(body.freeze());
        }
    }
}

async fn read_exactly(read: &mut OwnedReadHalf, buffer: &mut BytesMut, length: usize) -> io::Result<Bytes> {
    if length > REQUEST_MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    while buffer.len() < length {
        more(read, buffer).await?;
    }
    Ok(buffer.split_to(length).freeze())
}

async fn more(read: &mut OwnedReadHalf, buffer: &mut BytesMut) -> io::Result<()> {
    if fill(read, buffer).await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

async fn fill(read: &mut OwnedReadHalf, buffer: &mut BytesMut) -> io::Result<bool> {
    if buffer.len() > REQUEST_MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(read.read_buf(buffer).await? > 0)
}

/// Returns when the other side has closed or reset the connection. What it sends until then is kept.
pub(super) async fn gone(read: &mut OwnedReadHalf, buffer: &mut BytesMut) {
    while fill(read, buffer).await.unwrap_or(false) {}
}

/// Writes a head that is followed by chunks.
pub(super) async fn chunked_head(write: &mut OwnedWriteHalf, content_type: &str) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n");
    write.write_all(head.as_bytes()).await
}

/// Writes one HTTP chunk, in one write.
pub(super) async fn chunk(write: &mut OwnedWriteHalf, data: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(data.len() + 16);
    framed.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    framed.extend_from_slice(data);
    framed.extend_from_slice(b"\r\n");
    write.write_all(&framed).await
}

/// Ends a chunked body.
pub(super) async fn last_chunk(write: &mut OwnedWriteHalf) -> io::Result<()> {
    write.write_all(b"0\r\n\r\n").await
}

/// A whole answer.
pub(super) fn whole(status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("X");
    let mut answer = format!("HTTP/1.1 {status} {reason}\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        answer.push_str("content-type: application/json\r\n");
    }
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
