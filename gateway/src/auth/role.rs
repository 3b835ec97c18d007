//! Roles of people, scopes of tokens, and what a request needs of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a person may do. Each may what the one before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything that is measured, and alerts.
    Viewer,
    /// Acknowledges, silences, changes rules, sends readings.
    Operator,
    /// Says who may what.
    Admin,
}

/// What a token may do, at most; never more than its owner's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// `GET /metrics`, and nothing else.
    Metrics,
    /// What a viewer may.
    Read,
    /// Sends readings, and nothing else.
    Push,
    /// What an operator may, except sending readings.
    Operate,
    /// Everything.
    Admin,
}

/// What a request needs of who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// Nothing.
    Open,
    /// Anybody who is known, tokens of any scope included.
    Known,
    /// A person who logged in; or a token that may do everything.
    Person,
    /// Seeing.
    Read,
    /// Seeing the gateway's own metrics.
    Metrics,
    /// Sending readings.
    Push,
    /// Changing what people do about alerts, rules and deliveries.
    Operate,
    /// Changing who may what.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Reads what [`Role::name`] writes.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether this role is enough.
    #[must_use]
    pub fn may(self, need: Need) -> bool {
        need.role().is_none_or(|least| self >= least)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Metrics,
        Self::Read,
        Self::Push,
        Self::Operate,
        Self::Admin,
    ];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Read => "read",
            Self::Push => "push",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    /// Reads what [`Scope::name`] writes.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// Whether this scope is enough, if the owner's role is.
    #[must_use]
    pub const fn may(self, need: Need) -> bool {
        match need {
            Need::Open | Need::Known => true,
            Need::Metrics => matches!(
                self,
                Self::Metrics | Self::Read | Self::Operate | Self::Admin
            ),
            Need::Read => matches!(self, Self::Read | Self::Operate | Self::Admin),
            Need::Push => matches!(self, Self::Push | Self::Admin),
            Need::Operate => matches!(self, Self::Operate | Self::Admin),
            Need::Person | Need::Admin => matches!(self, Self::Admin),
        }
    }

    /// The least role whose holders may make a token with this scope.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Metrics | Self::Read => Role::Viewer,
            Self::Push | Self::Operate => Role::Operator,
            Self::Admin => Role::Admin,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Need {
    /// The least role that is enough; none where nobody need be known.
    #[must_use]
    pub const fn role(self) -> Option<Role> {
        match self {
            Self::Open => None,
            Self::Known | Self::Person | Self::Read | Self::Metrics => Some(Role::Viewer),
            Self::Push | Self::Operate => Some(Role::Operator),
            Self::Admin => Some(Role::Admin),
        }
    }

    /// The scopes of which a token needs one, in words.
    #[must_use]
    pub fn scopes(self) -> String {
        let enough: Vec<String> = Scope::ALL
            .into_iter()
            .filter(|scope| scope.may(self))
            .map(|scope| format!("\"{scope}\""))
            .collect();
        enough.join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: [Need; 8] = [
        Need::Open,
        Need::Known,
        Need::Person,
        Need::Read,
        Need::Metrics,
        Need::Push,
        Need::Operate,
        Need::Admin,
    ];

    #[test]
    fn each_role_may_what_the_one_before_it_may() {
        for need in NEEDS {
            let may = Role::ALL.map(|role| role.may(need));
            assert!(may.is_sorted(), "{need:?}: {may:?}");
            assert!(may[2], "an admin may everything: {need:?}");
        }
        assert!(!Role::Viewer.may(Need::Operate) && !Role::Viewer.may(Need::Push));
        assert!(!Role::Operator.may(Need::Admin));
    }

    #[test]
    fn no_scope_lets_do_what_its_least_role_may_not() {
        for scope in Scope::ALL {
            for need in NEEDS.into_iter().filter(|need| scope.may(*need)) {
                assert!(scope.role().may(need), "{scope}: {need:?}");
            }
            assert_eq!(Scope::parse(scope.name()), Some(scope));
        }
        // What a token for a device or a scraper must not be good for.
        assert!(!Scope::Push.may(Need::Read) && !Scope::Metrics.may(Need::Read));
        assert!(!Scope::Operate.may(Need::Person) && !Scope::Read.may(Need::Operate));
    }
}
