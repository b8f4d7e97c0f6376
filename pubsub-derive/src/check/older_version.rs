//! The rules for an older version: it is only read, so it has no settings for delivery and no redacted fields.

use crate::errors::Errors;
use crate::read::channel_attr::ChannelAttr;
use crate::read::redaction::Redaction;
use crate::read::value::Setting;
use syn::Ident;

/// Reports the keys that an older version does not take, and a missing `version`.
pub(crate) fn check_attr(attr: &ChannelAttr, of: &Ident, errors: &mut Errors) {
    let limits =
        [&attr.max_attempts, &attr.max_panics, &attr.max_crashes].into_iter().filter_map(|setting| {
            match setting {
                Setting::Set(given) => Some(&given.tokens),
                _ => None,
            }
        });
    let timeout = match &attr.timeout {
        Setting::Set(given) => Some(&given.tokens),
        _ => None,
    };
    for tokens in limits.chain(timeout) {
        errors.push(tokens, "an older version is only read, and never delivered\nremove this key");
    }
    if matches!(attr.version, Setting::Unset) {
        errors.push(of, "an older version needs a `version`\nadd `version = 1` after the name");
    }
}

/// Reports redacted fields.
pub(crate) fn check_redactions(redactions: &[Redaction<'_>], errors: &mut Errors) {
    let fields = redactions.iter().flat_map(|redaction| &redaction.fields);
    for (field, _) in fields.filter(|(_, redacted)| *redacted) {
        errors.push(
            field,
            "an older version is never shown, so its fields need no `redact`\n\
             redact the field in the newest version, which covers errors about older ones",
        );
    }
}
