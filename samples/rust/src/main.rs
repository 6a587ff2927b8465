//! A vault of small texts: one program without crates, with its files beside it. It listens on port 80 as a user of its
//! own, which a capability of its file allows.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
}

extern "C" fn stop(_: i32) {
    STOPPED.store(true, Ordering::SeqCst);
}

struct Answer {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
}

fn main() -> std::io::Result<()> {
    // SAFETY: the handler only stores to an atomic.
    unsafe { signal(15, stop as usize) };
    let listener = TcpListener::bind("0.0.0.0:80")?;
    listener.set_nonblocking(true)?;
    while !STOPPED.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                std::thread::spawn(move || serve(stream));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    // Read only when the program is stopped.
    print!("{}", fs::read_to_string("data/farewell.txt")?);
    Ok(())
}

fn serve(stream: TcpStream) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).is_err() || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
    }
    let mut body = vec![0; length.min(1 << 20)];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));
    let answer = answer(method, target.split('?').next().unwrap_or("/"), &body).unwrap_or_else(|error| Answer {
        status: 500,
        kind: "text/plain",
        body: error.to_string().into_bytes(),
    });
    let head = format!(
        "HTTP/1.1 {} .\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.kind,
        answer.body.len()
    );
    let mut out = &stream;
    let _ = out.write_all(head.as_bytes()).and_then(|()| out.write_all(if method == "HEAD" { b"" } else { &answer.body }));
}

fn answer(method: &str, path: &str, body: &[u8]) -> std::io::Result<Answer> {
    Ok(match (method, path) {
        (_, "/health") => json("{\"status\":\"ok\"}"),
        ("GET" | "HEAD", "/") => file(Path::new("public/index.html"))?,
        (_, "/texts") if method == "POST" => store(body)?,
        (_, "/texts") => json(&listing(Path::new("/var/lib/vault"))?),
        (_, "/names") => json(&listing(Path::new("data"))?),
        (_, "/links") => json(&format!("{{\"one\":{}}}", are_one("data/original.txt", "data/twin.txt")?)),
        (_, "/hosts") => json(&format!("{{\"localhost\":{}}}", ("localhost", 80).to_socket_addrs()?.any(|a| a.ip().is_loopback()))),
        (_, "/sum") => json(&format!("{{\"sum\":\"{}\"}}", sum()?)),
        (_, "/self") => json(&own()?),
        (_, other) if other.starts_with("/static/") && !other.contains("..") => {
            match file(&Path::new("public").join(&other["/static/".len()..])) {
                Ok(found) => found,
                Err(_) => missing(),
            }
        }
        _ => missing(),
    })
}

fn json(text: &str) -> Answer {
    Answer { status: 200, kind: "application/json", body: text.as_bytes().to_vec() }
}

fn missing() -> Answer {
    let body = fs::read("public/missing.html").unwrap_or_default();
    Answer { status: 404, kind: "text/html", body }
}

fn file(path: &Path) -> std::io::Result<Answer> {
    let kind = match path.extension().and_then(|e| e.to_str()) {
        Some("html") => "text/html",
        Some("css") => "text/css",
        _ => "text/plain",
    };
    Ok(Answer { status: 200, kind, body: fs::read(path)? })
}

fn store(body: &[u8]) -> std::io::Result<Answer> {
    let parts = std::str::from_utf8(body).ok().and_then(|text| text.split_once('='));
    let (name, text) = match parts {
        Some((name, text)) if !name.is_empty() && !name.contains('/') => (name, text),
        _ => return Ok(Answer { status: 400, kind: "text/plain", body: b"no text".to_vec() }),
    };
    // Written under another name first, so that nobody sees half of it.
    let new = Path::new("/var/lib/vault").join(format!(".{name}.new"));
    fs::write(&new, text)?;
    fs::rename(&new, Path::new("/var/lib/vault").join(name))?;
    Ok(Answer { status: 201, ..json("{}") })
}

/// Names (hexadecimal where they are no UTF-8) with their files' sizes.
fn listing(folder: &Path) -> std::io::Result<String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = match entry.file_name().to_str() {
            Some(name) => name.to_owned(),
            None => entry.file_name().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        found.insert(name, fs::read(entry.path())?.len());
    }
    let items: Vec<String> = found.iter().map(|(name, size)| format!("\"{name}\":{size}")).collect();
    Ok(format!("{{{}}}", items.join(",")))
}

fn are_one(first: &str, second: &str) -> std::io::Result<bool> {
    Ok(fs::metadata(first)?.ino() == fs::metadata(second)?.ino())
}

/// Work in another program, which a file of settings names.
fn sum() -> std::io::Result<String> {
    let settings = fs::read_to_string("conf/commands")?;
    let program = settings.lines().find_map(|line| line.strip_prefix("sum ")).unwrap_or("");
    let output = Command::new(program).arg("data/original.txt").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or("").to_owned())
}

fn own() -> std::io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned();
    let uid = field("Uid:").split_whitespace().next().unwrap_or("").to_owned();
    Ok(format!("{{\"uid\":{uid},\"effective\":\"{}\",\"notice\":{:?}}}", field("CapEff:"), std::env::var("VAULT_NOTICE").ok()))
}
