//! The images of the nodes are what they say they are: digests, links, programs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this is test code, its fixtures too")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};
use testbed::image::{Archive, BUSYBOX, Image, NGINX, PAUSE, PROBE, TOOLS};

type Files = BTreeMap<String, Vec<u8>>;

fn untar(bytes: &[u8]) -> Files {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(target) = entry.link_name().unwrap() {
            content = target.to_string_lossy().into_owned().into_bytes();
        }
        (name, content)
    });
    entries.collect()
}

/// Follows a descriptor, and makes sure that the blob has its digest and its size.
fn blob<'a>(files: &'a Files, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let content = files.get(&format!("blobs/sha256/{digest}")).unwrap();
    let hash = Sha256::digest(content);
    let real = hash.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(real, digest);
    assert_eq!(descriptor["size"].as_u64().unwrap(), content.len() as u64);
    content
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The configuration and the files of each image of an archive, by name.
fn images(path: &Path) -> BTreeMap<String, (Value, Files)> {
    let files = untar(&std::fs::read(path).unwrap());
    assert_eq!(json(&files["oci-layout"])["imageLayoutVersion"], "1.0.0");
    let index = json(&files["index.json"]);
    let images = index["manifests"].as_array().unwrap().iter().map(|descriptor| {
        let name = descriptor["annotations"]["io.containerd.image.name"].as_str().unwrap().to_owned();
        let manifest = json(blob(&files, descriptor));
        let config = json(blob(&files, &manifest["config"]));
        let [layer] = manifest["layers"].as_array().unwrap().as_slice() else { panic!("{manifest}") };
        assert_eq!(config["rootfs"]["diff_ids"][0], layer["digest"]);
        (name, (config, untar(blob(&files, layer))))
    });
    images.collect()
}

#[test]
fn every_blob_has_its_digest_and_every_link_its_target() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("images.tar");
    let one = Image::new("a.test/one:1")
        .file("bin/x", b"content".to_vec())
        .link("bin/y", "x")
        .entrypoint(&["/bin/x"]);
    let two = Image::new("a.test/two:1").command(&["sh"]);
    Archive::new().image(&one).unwrap().image(&two).unwrap().write(&path).unwrap();
    let images = images(&path);
    assert_eq!(images.keys().collect::<Vec<_>>(), ["a.test/one:1", "a.test/two:1"]);
    let (config, files) = &images["a.test/one:1"];
    assert_eq!(config["config"]["Entrypoint"][0], "/bin/x");
    assert_eq!(files["bin/x"], b"content");
    assert_eq!(files["bin/y"], b"x");
    assert!(files.contains_key("tmp") && files.contains_key("proc"), "{:?}", files.keys());
    assert_eq!(images["a.test/two:1"].0["config"]["Cmd"][0], "sh");
}

#[test]
fn the_same_content_gives_the_same_archive() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = dir.path().join(name);
        let image = Image::new("a.test/one:1").file("bin/x", b"content".to_vec());
        Archive::new().image(&image).unwrap().write(&path).unwrap();
        std::fs::read(path).unwrap()
    };
    assert_eq!(write("first"), write("second"));
}

#[test]
fn a_path_that_no_archive_can_hold_is_refused_by_name() {
    let image = Image::new("a.test/one:1").file("/bin/x", vec![]);
    let error = Archive::new().image(&image).unwrap_err().to_string();
    assert!(error.contains("a.test/one:1"), "{error}");
}

#[test]
fn the_nodes_images_have_their_programs() {
    let images = images(&Archive::of_nodes().unwrap());
    assert_eq!(images.len(), 5);
    let (busybox, files) = &images[BUSYBOX];
    assert_eq!(busybox["config"]["Cmd"][0], "sh");
    for applet in ["sh", "sleep", "ping", "nc", "ip", "ls"] {
        assert_eq!(files[&format!("bin/{applet}")], b"busybox", "{applet}");
    }
    for name in [TOOLS, NGINX] {
        let (tools, files) = &images[name];
        assert_eq!(tools["config"]["Cmd"], serde_json::json!(["/bin/probe", "serve", "--port", "80"]));
        assert_eq!(files["bin/ping"], b"busybox");
    }
    for (name, program) in
        [(PAUSE, "bin/busybox"), (PROBE, "bin/probe"), (BUSYBOX, "bin/busybox"), (TOOLS, "bin/probe")]
    {
        assert!(images[name].1[program].starts_with(b"\x7fELF"), "{name}");
    }
    assert_eq!(images[PAUSE].0["config"]["Entrypoint"][0], "/bin/busybox");
}
