//! The certificates of one control plane: an authority of its own, and what it signs.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use crate::error::Error;

const AUTHORITY: &str = "spiderpool-testbed";

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The authority of one control plane, kept in its folder.
#[derive(Debug, Clone)]
pub(crate) struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// Makes the authority, the certificate that all servers share, and the key that signs `ServiceAccount` tokens.
    ///
    /// Servers are reached on loopback and at `addresses`.
    pub(crate) fn create(dir: &Path, addresses: &[IpAddr]) -> Result<Self, Error> {
        let pki = Self::at(dir);
        let key = new_key(AUTHORITY)?;
        let certificate = authority_params().self_signed(&key).map_err(certificate_of(AUTHORITY))?;
        pki.write("ca.crt", &certificate.pem())?;
        pki.write("ca.key", &key.serialize_pem())?;
        let server = pki.sign("the servers", &server_params(addresses))?;
        pki.write("server.crt", &server.certificate)?;
        pki.write("server.key", &server.key)?;
        let tokens = new_key("ServiceAccount tokens")?;
        pki.write("sa.key", &tokens.serialize_pem())?;
        pki.write("sa.pub", &tokens.public_key_pem())?;
        Ok(pki)
    }

    /// Opens the authority that [`Pki::create`] left in `dir`.
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Where a file of the authority is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The authority's own certificate.
    pub(crate) fn authority(&self) -> Result<String, Error> {
        self.read("ca.crt")
    }

    /// Signs a certificate as which `user`, a member of `group`, is known to the API server.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, Error> {
        let mut params = nameless();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        self.sign(user, &params)
    }

    /// Writes a client's certificate and key as `<name>.crt` and `<name>.key`.
    pub(crate) fn write_client(&self, name: &str, user: &str, group: &str) -> Result<(), Error> {
        let Identity { certificate, key } = self.client(user, Some(group))?;
        self.write(&format!("{name}.crt"), &certificate)?;
        self.write(&format!("{name}.key"), &key)
    }

    fn sign(&self, subject: &str, params: &CertificateParams) -> Result<Identity, Error> {
        let key = KeyPair::from_pem(&self.read("ca.key")?).map_err(certificate_of(AUTHORITY))?;
        // The subject and the key are all that a signature needs of the authority, and both are known.
        let issuer = Issuer::new(authority_params(), key);
        let own = new_key(subject)?;
        let certificate = params.signed_by(&own, &issuer).map_err(certificate_of(subject))?;
        Ok(Identity { certificate: certificate.pem(), key: own.serialize_pem() })
    }

    fn read(&self, name: &str) -> Result<String, Error> {
        let path = self.path(name);
        std::fs::read_to_string(&path).map_err(Error::file("read", &path))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        write_private(&self.path(name), text)
    }
}

/// Writes a file that only this user can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).map_err(Error::file("create", path))?;
    file.write_all(text.as_bytes()).map_err(Error::file("write", path))
}

fn authority_params() -> CertificateParams {
    let mut params = nameless();
    params.distinguished_name.push(DnType::CommonName, AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn server_params(addresses: &[IpAddr]) -> CertificateParams {
    let mut params = nameless();
    params.distinguished_name.push(DnType::CommonName, "kubernetes");
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    params.subject_alt_names = addresses.iter().copied().chain([loopback]).map(SanType::IpAddress).collect();
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    params
        .subject_alt_names
        .extend(names.into_iter().filter_map(|name| Some(SanType::DnsName(name.try_into().ok()?))));
    // etcd's peers and the API server are both servers and clients of each other.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params
}

/// rcgen's own default carries a placeholder as the common name.
fn nameless() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
}

fn new_key(subject: &str) -> Result<KeyPair, Error> {
    KeyPair::generate().map_err(certificate_of(subject))
}

fn certificate_of(subject: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Certificate { subject, source }
}
