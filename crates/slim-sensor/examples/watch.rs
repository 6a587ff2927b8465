//! Watches one run of an image: `watch IMAGE [SECONDS]`; prints the trace as JSON.
use std::process::Command;
use std::time::Duration;

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn main() {
    let image = std::env::args().nth(1).unwrap();
    let seconds = std::env::args().nth(2).map_or(3, |text| text.parse().unwrap());
    slim_sensor::preflight().unwrap();
    let id = docker(&["create", "-P", &image]);
    let since = std::time::Instant::now();
    let settings = slim_sensor::Settings { image, image_volumes: vec![], buffer_bytes: 8 << 20 };
    let mut observer = slim_sensor::Sensor::arm(&id, settings).unwrap();
    eprintln!("armed after {:?}", since.elapsed());
    docker(&["start", &id]);
    eprintln!("{:?} after {:?}", observer.wait_started(Duration::from_secs(10)), since.elapsed());
    std::thread::sleep(Duration::from_secs(seconds));
    docker(&["stop", &id]);
    docker(&["rm", "-v", &id]);
    let trace = observer.finish().unwrap();
    println!("{}", serde_json::to_string_pretty(&trace).unwrap());
}
