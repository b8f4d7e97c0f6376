//! Certificates for tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// An authority that certifies servers and clients.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The file with its certificate.
    pub file: PathBuf,
}

/// The files of a certificate and of its key, in PEM.
#[derive(Debug)]
pub struct Certified {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key, which only its owner may read.
    pub key: PathBuf,
}

impl Authority {
    /// Creates an authority, whose files are in `directory`.
    pub fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        let issuer = issuer.expect("a certificate of an authority");
        let file = write(directory, &format!("{name}.crt"), &issuer.pem());
        Self { issuer, file }
    }

    /// Certifies a server by a name, or a client by its role. The certificate ends with the year.
    pub fn certify(&self, name: &str, last_year: i32) -> Certified {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let directory = self.file.parent().expect("a file is in a directory");
        let authority = self.file.file_stem().expect("a file has a name").to_string_lossy();
        let stem = format!("{name}-by-{authority}-until-{last_year}");
        Certified {
            certificate: write(directory, &format!("{stem}.crt"), &certificate.pem()),
            key: write(directory, &format!("{stem}.key"), &key.serialize_pem()),
        }
    }

    /// The authority's certificate, in DER.
    pub fn der(&self) -> &[u8] {
        self.issuer.der()
    }
}

/// Writes a file that only the directory's owner may read, as PostgreSQL wants its keys.
fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).expect("a file in the server's directory");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file of ours");
    let owner = fs::metadata(directory).expect("a directory");
    chown(&path, Some(owner.uid()), Some(owner.gid())).expect("a file of ours");
    path
}
