//! Who may connect: user names and passwords of the config, compared in constant time.

use subtle::{Choice, ConstantTimeEq};

use super::packet::Reason;
use crate::model::Secret;

/// Whether `login` is one of `users`; without users anybody may connect.
///
/// All users are compared, so that the time taken says neither which names exist nor how far a password was right. (It
/// may say how long they are.)
///
/// # Errors
///
/// [`Reason::NotAuthorised`] when nothing was offered, [`Reason::BadCredentials`] when it is wrong.
pub(super) fn check(
    users: &[(String, Secret)],
    login: Option<&(String, String)>,
) -> Result<(), Reason> {
    if users.is_empty() {
        return Ok(());
    }
    let Some((name, password)) = login else {
        return Err(Reason::NotAuthorised);
    };
    let mut known = Choice::from(0);
    for (user, secret) in users {
        known |=
            user.as_bytes().ct_eq(name.as_bytes()) & secret.0.as_bytes().ct_eq(password.as_bytes());
    }
    if known.into() {
        Ok(())
    } else {
        Err(Reason::BadCredentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_its_own_password_is_let_in() {
        let users = [
            (String::from("a"), Secret(String::from("one"))),
            (String::from("b"), Secret(String::from("two"))),
        ];
        let offer = |name: &str, password: &str| {
            check(&users, Some(&(String::from(name), String::from(password))))
        };
        assert_eq!(offer("a", "one"), Ok(()));
        assert_eq!(offer("b", "two"), Ok(()));
        assert_eq!(offer("a", "two"), Err(Reason::BadCredentials));
        assert_eq!(offer("", ""), Err(Reason::BadCredentials));
        assert_eq!(check(&users, None), Err(Reason::NotAuthorised));
        assert_eq!(check(&[], None), Ok(()));
    }
}
