//! Container images written as OCI archives without a container engine: `ctr images import` takes them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::cache;
use crate::debian::Packages;
use crate::error::Error;
use crate::plugins::Plugins;

/// The image that holds a pod's namespaces open; containerd's configuration pins it by this name (`pinned_images.sandbox`).
///
/// A name of our own: containerd's default would send whoever forgets the pin to a registry, with this one it fails at once.
pub const PAUSE: &str = "spiderpool.test/pause:1";
/// Debian's static busybox under the name that everybody's manifests use.
pub const BUSYBOX: &str = "docker.io/library/busybox:latest";
/// What the walkthrough's manifests name: a web server at port 80, and busybox' tools.
pub const TOOLS: &str = "docker.io/centos/tools:latest";
/// What the manifests of the walkthrough for two clusters name: the same web server and tools.
pub const NGINX: &str = "docker.io/library/nginx:latest";
/// The testbed's own client and server, see `testbed/plugins/cmd/probe`.
pub const PROBE: &str = "spiderpool.test/probe:latest";

/// Debian's package of the static one, on its own: images are also made where no nodes are.
const BUSYBOX_PACKAGE: Packages = Packages { name: "debian-busybox", names: &["busybox-static"], seconds: 3 };

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Mount points that runc wants, and folders that programs expect.
const FOLDERS: [&str; 8] = ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"];

/// One image of a single layer, for the machine that it is made on.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    files: Vec<(String, Vec<u8>)>,
    links: Vec<(String, String)>,
    entrypoint: Vec<String>,
    command: Vec<String>,
}

impl Image {
    /// An image that has nothing but empty folders yet; `name` is the whole reference, with host and tag.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = name.to_owned();
        Self { name, files: vec![], links: vec![], entrypoint: vec![], command: vec![] }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// Adds an executable file at `path`, without the slash at its front, in one of the folders that every image has.
    #[must_use]
    pub fn file(mut self, path: &str, content: Vec<u8>) -> Self {
        self.files.push((path.to_owned(), content));
        self
    }

    /// Adds a symbolic link at `path` to `target`.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.links.push((path.to_owned(), target.to_owned()));
        self
    }

    /// What a container always starts with, unless its pod says `command`.
    #[must_use]
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(ToString::to_string).collect();
        self
    }

    /// What follows the entrypoint, unless its pod says `args`.
    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(ToString::to_string).collect();
        self
    }

    fn layer(&self) -> io::Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for folder in FOLDERS {
            let mode = if folder == "tmp" { 0o1777 } else { 0o755 };
            tar.append_data(&mut header(EntryType::Directory, 0, mode), folder, io::empty())?;
        }
        for (path, content) in &self.files {
            let mut header = header(EntryType::Regular, content.len(), 0o755);
            tar.append_data(&mut header, path, content.as_slice())?;
        }
        for (path, target) in &self.links {
            tar.append_link(&mut header(EntryType::Symlink, 0, 0o777), path, target)?;
        }
        tar.into_inner()
    }
}

/// Every field is set, so that the same content always has the same digest.
fn header(kind: EntryType, size: usize, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// An archive of images in the OCI layout.
#[derive(Debug, Default)]
pub struct Archive {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<Value>,
}

impl Archive {
    /// An archive without images.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one image.
    ///
    /// # Errors
    /// When a path does not fit into a tar archive: it is longer than 255 bytes, or begins with a slash.
    pub fn image(mut self, image: &Image) -> Result<Self, Error> {
        let layer = image.layer().map_err(Error::file("write the layer of", Path::new(&image.name)))?;
        let layer = self.put(LAYER, layer);
        let mut config = json!({"Entrypoint": image.entrypoint, "Env": ["PATH=/bin"], "WorkingDir": "/"});
        if !image.command.is_empty() {
            config["Cmd"] = json!(image.command);
        }
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": config,
            // A layer that is not compressed has the digest of its content.
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = self.put(CONFIG, config.to_string().into_bytes());
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut manifest = self.put(MANIFEST, manifest.to_string().into_bytes());
        manifest["annotations"] = json!({"io.containerd.image.name": image.name});
        manifest["platform"] = json!({"architecture": architecture(), "os": "linux"});
        self.manifests.push(manifest);
        Ok(self)
    }

    /// Keeps a blob under its digest, and returns its descriptor.
    fn put(&mut self, kind: &str, content: Vec<u8>) -> Value {
        let digest = Sha256::digest(&content).iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
        let descriptor =
            json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": content.len()});
        self.blobs.insert(digest, content);
        descriptor
    }

    /// Writes the archive; a file that is there by then is whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(Error::file("create a file in", dir))?;
        self.write_to(file.as_file_mut()).map_err(Error::file("write", path))?;
        file.persist(path).map_err(|error| Error::file("rename", path)(error.error))?;
        Ok(())
    }

    fn write_to(&self, out: &mut fs::File) -> io::Result<()> {
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": self.manifests});
        let mut tar = Builder::new(io::BufWriter::new(out));
        let mut add = |name: &str, content: &[u8]| {
            tar.append_data(&mut header(EntryType::Regular, content.len(), 0o644), name, content)
        };
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add("index.json", index.to_string().as_bytes())?;
        for (digest, content) in &self.blobs {
            add(&format!("blobs/sha256/{digest}"), content)?;
        }
        tar.into_inner()?.flush()
    }

    /// Writes the images that every node of the testbed holds ([`PAUSE`], [`BUSYBOX`], [`TOOLS`], [`NGINX`], [`PROBE`]) into
    /// the cache, unless they are there, and returns the archive's path.
    ///
    /// # Errors
    /// When Debian's busybox or our probe cannot be had, or the cache cannot be written.
    pub fn of_nodes() -> Result<PathBuf, Error> {
        let plugins = Plugins::ensure()?;
        // Beside the programs that are in it: an edited probe makes another archive.
        let path = plugins.folder().join("images-3.tar");
        if path.exists() {
            return Ok(path);
        }
        let busybox = BUSYBOX_PACKAGE.unpack(&cache::folder()?, "bin/busybox")?.join("bin/busybox");
        let content = read(&busybox)?;
        // Not `infinity`: that needs a newer busybox than some. As PID 1 it hears no TERM; the runtime ends sandboxes with KILL.
        let pause = Image::new(PAUSE).file("bin/busybox", content.clone()).entrypoint(&[
            "/bin/busybox",
            "sleep",
            "2147483647",
        ]);
        let mut all = Image::new(BUSYBOX).file("bin/busybox", content.clone()).command(&["sh"]);
        let probe = read(&plugins.probe())?;
        let mut tools = Image::new(TOOLS).file("bin/busybox", content).file("bin/probe", probe.clone());
        tools = tools.command(&["/bin/probe", "serve", "--port", "80"]);
        for applet in applets(&busybox)? {
            let link = format!("bin/{applet}");
            (all, tools) = (all.link(&link, "busybox"), tools.link(&link, "busybox"));
        }
        let probe = Image::new(PROBE).file("bin/probe", probe).entrypoint(&["/bin/probe"]);
        let images = [&pause, &all, &tools, &tools.named(NGINX), &probe];
        images.into_iter().try_fold(Self::new(), Self::image)?.write(&path)?;
        Ok(path)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::file("read", path))
}

/// All programs that a busybox can be.
fn applets(busybox: &Path) -> Result<Vec<String>, Error> {
    let start = |source| Error::Start { program: busybox.display().to_string(), source };
    let output = Command::new(busybox).arg("--list").output().map_err(start)?;
    let names = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>();
    Ok(names.into_iter().filter(|name| !name.is_empty() && name != "busybox").collect())
}

/// What Go, and so OCI, calls this machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
