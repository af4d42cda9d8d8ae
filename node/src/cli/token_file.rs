//! Where the token of a session is kept from one command to the next.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use dunlin_client::{Client, Session};

use super::fault::Fault;

/// A file with a token, or one that will have one.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    token: Option<Vec<u8>>,
}

impl TokenFile {
    /// Reads the token, if the file is there.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let token = match fs::read(path) {
            Ok(token) => Some(token),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => {
                let path = path.to_path_buf();
                return Err(Fault::Input { path, source });
            }
        };
        let path = path.to_path_buf();
        Ok(Self { path, token })
    }

    /// The session of the token, or a new one.
    pub(crate) fn session(&self, client: &Client) -> Result<Session, Fault> {
        let Some(token) = &self.token else {
            return Ok(client.session());
        };
        Session::from_token(client, token).map_err(|error| Fault::Refused {
            what: format!("{}: {error}", self.path.display()),
            advice: "name another file, or remove this one to begin a new session".to_owned(),
        })
    }

    /// Writes a token in place of the old one, whole or not at all.
    pub(crate) fn keep(&self, token: &[u8]) -> Result<(), Fault> {
        let mut unfinished = self.path.clone().into_os_string();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(token)?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)
        };
        write().map_err(|source| Fault::Token {
            path: self.path.clone(),
            source,
        })
    }
}
