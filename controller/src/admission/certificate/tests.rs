use rcgen::{CertificateParams, KeyPair};

use super::*;

struct Secret(tempfile::TempDir);

impl Secret {
    fn new() -> Self {
        let secret = Self(tempfile::tempdir().unwrap());
        secret.renew();
        secret
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir().join(name), text).unwrap();
    }

    /// Writes a fresh pair.
    fn renew(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&key).unwrap();
        self.write(CERTIFICATE, &certificate.pem());
        self.write(KEY, &key.serialize_pem());
        certificate.der().clone()
    }

    async fn refused(&self) -> String {
        Certificate::open(self.dir()).await.err().unwrap().to_string()
    }
}

fn shown(certificate: &Certificate) -> CertificateDer<'static> {
    certificate.current.0.read().unwrap().cert[0].clone()
}

#[tokio::test]
async fn what_cannot_be_used_at_the_start_is_named_with_its_file() {
    let secret = Secret::new();
    std::fs::remove_file(secret.dir().join(KEY)).unwrap();
    let said = secret.refused().await;
    assert!(said.contains("tls.key") && said.contains("--webhook-certs"), "{said}");
    secret.write(KEY, "no PEM");
    let said = secret.refused().await;
    assert!(said.contains("tls.key") && said.contains("private key"), "{said}");
    secret.renew();
    secret.write(CERTIFICATE, "no PEM");
    let said = secret.refused().await;
    assert!(said.contains("tls.crt") && said.contains("certificate"), "{said}");
}

#[tokio::test]
async fn a_key_of_another_certificate_is_refused() {
    let secret = Secret::new();
    secret.write(KEY, &KeyPair::generate().unwrap().serialize_pem());
    let said = secret.refused().await;
    assert!(said.contains("together"), "{said}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_once_it_reads_the_same_twice() {
    let secret = Secret::new();
    let mut certificate = Certificate::open(secret.dir()).await.unwrap();
    let before = shown(&certificate);
    let after = secret.renew();
    certificate.look().await;
    assert_eq!(shown(&certificate), before);
    certificate.look().await;
    assert_eq!(shown(&certificate), after);
}

#[tokio::test]
async fn a_certificate_that_becomes_unusable_leaves_the_old_one_in_force() {
    let secret = Secret::new();
    let mut certificate = Certificate::open(secret.dir()).await.unwrap();
    let before = shown(&certificate);
    secret.write(CERTIFICATE, "half of a certif");
    certificate.look().await;
    certificate.look().await;
    assert_eq!(shown(&certificate), before);
    std::fs::remove_file(secret.dir().join(CERTIFICATE)).unwrap();
    certificate.look().await;
    certificate.look().await;
    assert_eq!(shown(&certificate), before);
    let after = secret.renew();
    certificate.look().await;
    certificate.look().await;
    assert_eq!(shown(&certificate), after);
}
