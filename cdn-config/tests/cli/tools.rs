//! What is rendered, read by the programs that it is for. Skipped, with a word on stderr, where one is not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::golden::cases;
use crate::installed;

/// Every golden file with this ending.
fn rendered(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = cases().into_iter().map(|case| case.join("folder")).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{ending}");
    found
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A certificate and its key, written to a folder.
pub(crate) fn certificate(folder: &Path) -> [String; 2] {
    let issued = rcgen::generate_simple_self_signed(["rank.example".to_owned()]).unwrap();
    [("proxy.crt", issued.cert.pem()), ("proxy.key", issued.signing_key.serialize_pem())].map(|(name, text)| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

/// The value of an nginx directive that is in the text once or more.
fn value_of<'a>(text: &'a str, directive: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("{directive} ")).unwrap_or_else(|| panic!("no {directive}"));
    rest.split_once(';').unwrap().0
}

/// A rendered site as a whole configuration of nginx that any user can run: other ports, files of this folder.
pub(crate) fn nginx_configuration(site: &str, folder: &Path, http: u16, https: u16) -> PathBuf {
    let [chain, key] = certificate(folder);
    let cache = value_of(site, "proxy_cache_path").split_once(' ').unwrap().0;
    let site = site
        .replace(value_of(site, "ssl_certificate"), &chain)
        .replace(value_of(site, "ssl_certificate_key"), &key)
        .replace(cache, folder.join("cache").to_str().unwrap())
        .replace("listen 80;", &format!("listen 127.0.0.1:{http};"))
        .replace("listen [::]:80;", "")
        .replace("listen 443 ", &format!("listen 127.0.0.1:{https} "))
        .replace("listen [::]:443 ssl http2;", "");
    let here = folder.display();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
        .concat();
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {here}/pid;\nerror_log {here}/error.log;\nevents {{}}\n\
         http {{\naccess_log off;\n{temp}{site}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, whole).unwrap();
    file
}

#[test]
fn nginx_takes_every_site() {
    if !installed("nginx") {
        return;
    }
    for site in rendered("conf.d/rung-edge.conf").into_iter().chain(rendered("conf.d/rung-origin.conf")) {
        let folder = TempDir::new().unwrap();
        let [http, https] = crate::proxies::free_ports();
        let configuration = nginx_configuration(&fs::read_to_string(&site).unwrap(), folder.path(), http, https);
        let output = Command::new("nginx").arg("-t").arg("-c").arg(configuration).output().unwrap();
        let told = told(&output);
        assert!(output.status.success() && !told.contains("[warn]"), "{}: {told}", site.display());
    }
}

#[test]
fn caddy_takes_every_caddyfile_and_would_not_write_it_otherwise() {
    if !installed("caddy") {
        return;
    }
    for file in rendered("Caddyfile") {
        let home = TempDir::new().unwrap();
        let caddy = |words: &[&str]| {
            let output =
                Command::new("caddy").args(words).arg(&file).env("XDG_DATA_HOME", home.path()).output().unwrap();
            assert!(output.status.success(), "{}: {}", file.display(), told(&output));
            output
        };
        caddy(&["validate", "--adapter", "caddyfile", "--config"]);
        let formatted = caddy(&["fmt"]).stdout;
        assert_eq!(String::from_utf8(formatted).unwrap(), fs::read_to_string(&file).unwrap());
    }
}

#[test]
fn systemd_takes_every_unit_and_finds_it_little_exposed() {
    if !installed("systemd-analyze") {
        return;
    }
    let units = Path::new("/usr/lib/systemd/system");
    for unit in rendered(".service") {
        // A root of its own, with binaries for `ExecStart` and the targets that the unit names.
        let root = TempDir::new().unwrap();
        let inside = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        for daemon in ["pop", "origin"] {
            fs::copy("/bin/true", inside(&format!("usr/local/bin/{daemon}"))).unwrap();
        }
        for target in fs::read_dir(units).unwrap().map(|entry| entry.unwrap().path()) {
            if target.is_file() {
                let name = target.file_name().unwrap().to_str().unwrap();
                fs::copy(&target, inside(&format!("usr/lib/systemd/system/{name}"))).unwrap();
            }
        }
        let name = unit.file_name().unwrap().to_str().unwrap();
        fs::copy(&unit, inside(&format!("etc/systemd/system/{name}"))).unwrap();

        let verified =
            Command::new("systemd-analyze").arg("--root").arg(root.path()).args(["verify", name]).output().unwrap();
        let told_verified = told(&verified);
        assert!(verified.status.success() && !told_verified.contains(name), "{}: {told_verified}", unit.display());
        // Of 10; what is common in services of Debian is between 5 and 9.6.
        let exposed =
            Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=20"]).arg(&unit).output();
        let exposed = exposed.unwrap();
        assert!(exposed.status.success(), "{}: {}", unit.display(), told(&exposed));
    }
}
