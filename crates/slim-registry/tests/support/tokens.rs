//! A token service for the real registry: what it signs, the registry believes.

use super::stranger::{Answer, Asked, body, status};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Signs tokens as the distribution project's token specification has it.
pub struct TokenService {
    key: EcdsaKeyPair,
    certificate: Vec<u8>,
    pub certificate_pem: String,
    /// How many of the next tokens are too old already.
    pub old_ones: AtomicI64,
}

pub const SERVICE: &str = "test registry";
pub const ISSUER: &str = "test issuer";
pub const REFRESH_TOKEN: &str = "identity";

impl TokenService {
    pub fn new(old_ones: i64) -> Self {
        let made = rcgen::generate_simple_self_signed(["tokens".to_owned()]).unwrap();
        let random = ring::rand::SystemRandom::new();
        let der = made.signing_key.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap();
        Self {
            key,
            certificate: made.cert.der().to_vec(),
            certificate_pem: super::pem(made.cert.der()),
            old_ones: old_ones.into(),
        }
    }

    /// `me` with `secret`, or the identity token, may do everything; everybody may pull from below `public/`.
    pub fn answer(&self, asked: &Asked) -> Answer {
        let is_post = asked.method == hyper::Method::POST;
        let form = if is_post { &asked.body } else { &asked.query };
        let fields: Vec<(String, String)> =
            url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let all = |name: &str| -> Vec<&str> {
            fields.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
        };
        if all("service") != [SERVICE] {
            return status(400);
        }
        let known = if is_post {
            all("refresh_token") == [REFRESH_TOKEN]
        } else {
            match &asked.authorization {
                Some(proof) if *proof != format!("Basic {}", super::RIGHT) => return status(401),
                proof => proof.is_some(),
            }
        };
        let access: Vec<serde_json::Value> = all("scope")
            .iter()
            .flat_map(|scopes| scopes.split(' '))
            .filter_map(|scope| {
                let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
                let granted: Vec<&str> = actions
                    .split(',')
                    .filter(|action| known || (name.starts_with("public/") && *action == "pull"))
                    .collect();
                Some(json!({"type": "repository", "name": name, "actions": granted}))
            })
            .collect();
        let token = self.token(&access);
        body(200, "application/json", json!({"access_token": token, "expires_in": 300}).to_string())
    }

    fn token(&self, access: &[serde_json::Value]) -> String {
        let is_old = self.old_ones.fetch_sub(1, Ordering::SeqCst) > 0;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let issued = if is_old { now - 7200 } else { now - 10 };
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(&self.certificate)]});
        let claims = json!({
            "iss": ISSUER, "sub": "me", "aud": SERVICE, "exp": issued + 300, "nbf": issued, "iat": issued,
            "jti": "1", "access": access,
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let random = ring::rand::SystemRandom::new();
        let signature = self.key.sign(&random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
