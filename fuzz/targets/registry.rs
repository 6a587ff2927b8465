//! What a registry answers to a pull: each part of the input is one whole HTTP answer, the last one for ever after.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_fuzz::{Jail, parts};
use slim_registry::client::Progress;
use slim_registry::{Client, ClientSettings, Platforms, Retry, pull};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

static ANSWERS: LazyLock<Mutex<Vec<Vec<u8>>>> = LazyLock::new(Mutex::default);
static PORT: LazyLock<u16> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    port
});

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut block = [0; 4096];
    drop(stream.set_read_timeout(Some(Duration::from_millis(200))));
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut block) {
            Ok(count @ 1..) => request.extend_from_slice(&block[..count]),
            _ => return,
        }
    }
    let mut answers = ANSWERS.lock().expect("no one panics with it");
    let next = if answers.len() > 1 { answers.remove(0) } else { answers.first().cloned().unwrap_or_default() };
    drop(stream.write_all(&next));
}

fuzz_target!(|bytes: &[u8]| {
    *ANSWERS.lock().expect("no one panics with it") = parts(bytes).into_iter().map(<[u8]>::to_vec).collect();
    let jail = Jail::new();
    let soon = Duration::from_millis(1);
    let retry = Retry { attempts: 2, first_pause: soon, longest_pause: soon };
    let client = Client::new(ClientSettings { retry, ..ClientSettings::default() });
    let from = format!("127.0.0.1:{}/a:1", *PORT).parse().expect("a reference");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let quiet = Arc::new(()) as Arc<dyn Progress>;
    let folder = jail.inside().join("layout");
    drop(runtime.block_on(async {
        let pulling = pull(&client, &from, &Platforms::All, &folder, Some("x"), &quiet);
        tokio::time::timeout(Duration::from_secs(5), pulling).await
    }));
    jail.check();
});
