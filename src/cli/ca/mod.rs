//! `fieldgate ca`: the certificate authority of a gateway, whether it is running or not.

pub(in crate::cli) mod export;
mod issue;
mod keys;
mod session;
mod show;

use fieldgate::ca::CaReply;

use super::Failure;

/// Make, look after and use the certificate authority of a gateway
///
/// It issues the certificates of ports and of clients. With a gateway that is running its control socket is asked, which root
/// and the user of the gateway may do; with one that is stopped its state folder is used.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make the authority: a root, and an issuer below it
    Init(keys::InitArgs),
    /// Show the certificates of the authority, what happens next, and what is wrong
    Status(show::StatusArgs),
    /// Make a key and a certificate for a client
    ///
    /// The key is made here and is nowhere else. It is written for its owner alone.
    Issue(issue::IssueArgs),
    /// Sign a request that a device has made with a key of its own
    Sign(issue::SignArgs),
    /// List what was issued
    List(show::ListArgs),
    /// Show a certificate, or all of a name
    Show(show::ShowArgs),
    /// Revoke a certificate, or all of a name, for good
    ///
    /// Clients that are connected with it are disconnected, and the revocation list is written anew.
    Revoke(issue::RevokeArgs),
    /// Issue a certificate again: with the same name, names, attributes and lifetime
    Renew(issue::RenewArgs),
    /// Write the roots that clients have to trust
    ExportRoot(export::ExportRootArgs),
    /// Write the revocation lists
    Crl(export::CrlArgs),
    /// Make a token with which a device may enrol once
    Token(issue::TokenArgs),
    /// Let an intermediate of another authority issue from here on
    Import(keys::ImportArgs),
    /// Take the key of the root off this device, and bring it back
    RootKey(keys::RootKeyArgs),
    /// Make a new root now, and publish it beside the old one
    Rollover(keys::PlainArgs),
    /// Seal the keys with systemd-creds, so that only this machine opens them
    Seal(keys::PlainArgs),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Init(args) => keys::init(args),
        What::Status(args) => show::status(args),
        What::Issue(args) => issue::issue(args),
        What::Sign(args) => issue::sign(args),
        What::List(args) => show::list(args),
        What::Show(args) => show::show(args),
        What::Revoke(args) => issue::revoke(args),
        What::Renew(args) => issue::renew(args),
        What::ExportRoot(args) => export::root(args),
        What::Crl(args) => export::crl(args),
        What::Token(args) => issue::token(args),
        What::Import(args) => keys::import(args),
        What::RootKey(args) => keys::root_key(args),
        What::Rollover(args) => keys::roll_over(args),
        What::Seal(args) => keys::seal(args),
    }
}

/// What a request of another kind would have been answered with.
fn foreign(_: CaReply) -> Failure {
    Failure::runtime(anyhow::Error::msg(
        "the gateway gave an answer that this version does not understand",
    ))
}
