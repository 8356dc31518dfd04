use std::path::PathBuf;

use tempfile::TempDir;

use super::library::Places;
use super::{Choice, Device, Kind, Missing, Precision};

/// A library that every machine with this program has.
const ANY_LIBRARY: &str = if cfg!(target_os = "macos") { "libSystem.dylib" } else { "libm.so.6" };

/// All that a GPU needs, but for the GPU.
fn complete(toolkit: &TempDir) -> Places {
    std::fs::create_dir(toolkit.path().join("include")).unwrap();
    std::fs::write(toolkit.path().join("include/cuda_runtime.h"), "").unwrap();
    let any = || vec!["libno-such-name.so".to_owned(), ANY_LIBRARY.to_owned()];
    Places { driver: any(), nvrtc: any(), toolkit: Some(toolkit.path().to_owned()) }
}

fn nowhere() -> Vec<String> {
    vec!["libno-such-driver.so".to_owned(), "libno-such-driver.so.1".to_owned()]
}

#[test]
fn the_cpu_lacks_nothing() {
    let probed = Device::probe(Choice::Cpu, Precision::Tf32).unwrap();
    assert_eq!((probed.device.kind(), probed.missing), (Kind::Cpu, None));
    assert_eq!(probed.device.precision(), Precision::F32, "the CPU has no other");
}

#[test]
fn auto_goes_on_with_the_cpu_and_says_why() {
    let probed = Device::probe(Choice::Auto, Precision::F32).unwrap();
    match probed.device.kind() {
        Kind::Cpu => assert!(probed.missing.is_some()),
        Kind::Cuda(index) => assert_eq!((index, probed.missing), (0, None)),
    }
}

#[test]
fn a_gpu_that_is_not_there_is_refused_by_name() {
    let refused = Device::probe(Choice::Cuda(4711), Precision::F32).unwrap_err();
    assert!(!refused.to_string().is_empty(), "{refused:?}");
}

#[test]
fn finds_what_is_there() {
    assert_eq!(complete(&TempDir::new().unwrap()).check(), Ok(()));
}

#[test]
fn with_nothing_there_it_is_the_driver_that_is_missing() {
    let missing = Places { driver: nowhere(), nvrtc: nowhere(), toolkit: None }.check().unwrap_err();
    let text = missing.to_string();
    assert!(text.starts_with("no NVIDIA driver: ") && text.contains("libno-such-driver.so:"), "{text}");
}

#[test]
fn a_driver_that_will_not_load_is_told_from_none() {
    let toolkit = TempDir::new().unwrap();
    let broken = toolkit.path().join("libcuda.so.1");
    std::fs::write(&broken, "this is no library").unwrap();
    let mut places = complete(&toolkit);
    places.driver = vec!["libno-such-driver.so".to_owned(), broken.display().to_string()];
    let Missing::Driver(why) = places.check().unwrap_err() else { panic!("not the driver") };
    assert!(why.contains("libcuda.so.1") && !why.contains("No such file"), "{why}");
}

#[test]
fn a_compiler_that_is_missing_is_named() {
    let mut places = complete(&TempDir::new().unwrap());
    places.nvrtc = nowhere();
    let text = places.check().unwrap_err().to_string();
    assert!(text.starts_with("no NVRTC") && text.contains("libno-such-driver.so"), "{text}");
}

#[test]
fn headers_that_are_missing_are_named() {
    let mut places = complete(&TempDir::new().unwrap());
    places.toolkit = Some(PathBuf::from("/no/such/toolkit"));
    let missing = places.check().unwrap_err();
    assert_eq!(missing, Missing::Headers("/no/such/toolkit/include/cuda_runtime.h".into()));
    assert!(missing.to_string().contains("CUDA_PATH"), "{missing}");
}
