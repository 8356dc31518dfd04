use std::path::Path;

use shared_model::bundle::{CATALOG, MANIFEST};
use shared_model::variant::Variant;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::fixture::write_bundle;

/// A folder with a bundle and a `rung.toml` that serves it on ports of the system's choice.
fn site(edit: impl FnOnce(&mut Variant)) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("films")).unwrap();
    write_bundle(&folder.path().join("films"), edit);
    let text = "schema_version = 1\ntier = \"origin\"\n[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
                [[model]]\nbundle = \"films\"\n";
    std::fs::write(folder.path().join("rung.toml"), text).unwrap();
    folder
}

fn settings(site: &Path) -> Settings {
    let config = Config::from_path(&site.join("rung.toml")).unwrap();
    let settings = Settings::from_config(&config).unwrap();
    Settings { front: front::Settings { drain_notice: Duration::ZERO, ..settings.front }, ..settings }
}

async fn exchange(address: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nhost: o\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

async fn refused(site: &Path) -> StartError {
    start(settings(site)).await.unwrap_err()
}

#[tokio::test]
async fn answers_is_ready_counts_and_drains() {
    let site = site(|_| {});
    let running = start(settings(site.path())).await.unwrap();
    let ask = r#"{"model":"films","k":1,"user":{"weight":2.0},"candidates":["a","d"],"timeout_ms":10000}"#;
    let answer = exchange(running.http().unwrap(), "POST /v1/rank", ask).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"id\":\"d\""), "{answer}");
    assert!(answer.contains("\"tier\":\"origin\"") && answer.contains("\"variant\":\"f32\""), "{answer}");
    let ready = exchange(running.admin(), "GET /readyz", "").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("films"), "{ready}");
    let metrics = exchange(running.admin(), "GET /metrics", "").await;
    assert!(metrics.contains("origin_scores_total 2") && metrics.contains("kind=\"cpu\""), "{metrics}");
    assert_eq!(running.drain(Duration::from_secs(5)).await, Drained { cut: 0 });
}

#[tokio::test]
async fn refuses_a_bundle_that_is_not_there() {
    let site = site(|_| {});
    std::fs::remove_file(site.path().join("films").join(MANIFEST)).unwrap();
    let error = refused(site.path()).await;
    let text = error.to_string();
    assert!(text.contains("films: manifest.json: "), "{text}");
}

#[tokio::test]
async fn refuses_a_file_that_is_not_the_manifests() {
    let site = site(|_| {});
    let catalog = site.path().join("films").join(CATALOG);
    let mut bytes = std::fs::read(&catalog).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&catalog, bytes).unwrap();
    let error = refused(site.path()).await;
    assert!(error.to_string().contains("catalog.safetensors does not match its digest"), "{error}");
}

#[tokio::test]
async fn refuses_a_longer_file_without_reading_it_whole() {
    let site = site(|_| {});
    let catalog = site.path().join("films").join(CATALOG);
    let bytes = std::fs::read(&catalog).unwrap();
    std::fs::write(&catalog, bytes.repeat(3)).unwrap();
    let text = refused(site.path()).await.to_string();
    assert!(text.contains(&format!("more than {} bytes", bytes.len())), "{text}");
}

#[tokio::test]
async fn refuses_an_address_that_is_taken() {
    let site = site(|_| {});
    let running = start(settings(site.path())).await.unwrap();
    let mut again = settings(site.path());
    again.front.http = running.http();
    let error = start(again).await.unwrap_err();
    assert!(error.to_string().contains("cannot listen on"), "{error}");
}

#[test]
fn refuses_the_configuration_of_another_tier() {
    let text = "schema_version = 1\ntier = \"edge\"\n[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
                [[model]]\nbundle = \"films\"\n[worker]\nwasm = \"worker.wasm\"\n";
    let config = Config::parse(text, Path::new("")).unwrap();
    let refused = Settings::from_config(&config).unwrap_err().to_string();
    assert_eq!(refused, "tier: is `edge`, expected `origin`: start `pop` with this file");
}

#[tokio::test]
async fn without_a_gpu_auto_goes_on_with_the_cpu_and_says_why() {
    let site = site(|_| {});
    let running = start(settings(site.path())).await.unwrap();
    let ready = exchange(running.admin(), "GET /readyz", "").await;
    let gpu = ready.contains("\"runs_on\":\"cuda:0\"") && !ready.contains("\"note\"");
    let cpu = ready.contains("\"runs_on\":\"cpu\"") && ready.contains("\"note\":\"");
    assert!(ready.starts_with("HTTP/1.1 200") && (gpu || cpu), "{ready}");
}

#[tokio::test]
async fn a_gpu_that_is_asked_for_and_not_there_is_no_origin() {
    let site = site(|_| {});
    let refused = start(Settings { device: Choice::Cuda(4711), ..settings(site.path()) }).await.unwrap_err();
    assert!(matches!(refused, StartError::Device(_)), "{refused}");
    assert!(refused.to_string().starts_with("device.use: "), "{refused}");
}
