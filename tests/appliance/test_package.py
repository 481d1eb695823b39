"""The Debian package: what lintian says, and what is there after installing, upgrading, removing and purging it."""

import os
import pathlib
import tempfile
import unittest

import machine


class Package(unittest.TestCase):
    def test_lintian_has_nothing_to_say(self):
        _, said = machine.run(
            ["lintian", "--allow-root", "--fail-on=none", "--tag-display-limit=0", machine.package(), machine.package("fieldgate-dbgsym")]
        )
        self.assertEqual([line for line in said.splitlines() if line[:2] in ("E:", "W:")], [])

    def test_two_runs_make_the_same_package(self):
        first = machine.package().read_bytes()
        again = machine.PACKAGES / "again"
        machine.run(["scripts/package-deb", "--program", "target/debug/fieldgate", "--out", again], cwd=machine.ROOT)
        self.assertEqual((again / machine.package().name).read_bytes(), first)

    def test_program_has_its_symbols_beside_it(self):
        symbols = machine.run(["dpkg-deb", "--contents", machine.package("fieldgate-dbgsym")])[1]
        self.assertIn("/usr/lib/debug/.build-id/", symbols)
        contents = machine.run(["dpkg-deb", "--contents", machine.package()])[1]
        for name in ("usr/share/man/man1/fieldgate.1.gz", "usr/share/man/man1/fieldgate-serve.1.gz", "bash-completion/completions/fieldgate"):
            self.assertIn(name, contents)


class Sources(unittest.TestCase):
    """Where Debian is found, on machines that have fetched nothing yet."""

    def archive(self, suite, file, text):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for below in ("parts", "lists/partial", "cache/archives/partial"):
                (folder / below).mkdir(parents=True)
            (folder / "sources.list").touch()
            (folder / file).write_text(text)
            (folder / "apt.conf").write_text(
                f'Dir::Etc::sourcelist "{folder}/sources.list";\nDir::Etc::sourceparts "{folder}/parts";\n'
                f'Dir::State::lists "{folder}/lists";\nDir::Cache "{folder}/cache";\n'
            )
            code, said = machine.run(
                ["bash", "-euo", "pipefail", "-c", '. scripts/packages.sh; debian_archive "$1"', "bash", suite],
                check=False, cwd=machine.ROOT, env={**os.environ, "APT_CONFIG": str(folder / "apt.conf")},
            )
            return code, said.strip()

    def test_both_ways_of_writing_them_are_read(self):
        lines = (
            "deb-src http://archive.invalid/debian bookworm main\n"
            "deb [arch=amd64] http://archive.invalid/debian bookworm main contrib\n"
            "deb http://archive.invalid/debian-security bookworm-security main\n"
        )
        fields = (
            "Types: deb\nURIs: http://archive.invalid/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
            "Types: deb\nURIs: http://archive.invalid/debian-security/\nSuites: bookworm-security\nComponents: main\n"
        )
        for file, text in (("sources.list", lines), ("parts/debian.list", lines), ("parts/debian.sources", fields)):
            with self.subTest(file):
                self.assertEqual(self.archive("bookworm", file, text), (0, "http://archive.invalid/debian"))
                self.assertEqual(self.archive("bookworm-security", file, text), (0, "http://archive.invalid/debian-security"))
                code, said = self.archive("trixie", file, text)
                self.assertNotEqual(code, 0)
                self.assertIn("do not name the suite trixie", said)


class Lists(unittest.TestCase):
    """With an apt-get that fetches nothing, and no time between its tries."""

    def test_list_that_cannot_be_fetched_is_asked_for_again_and_stops_nobody(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "sleep").write_text("#!/bin/sh\n")
            (folder / "apt-get").write_text('#!/bin/sh\necho "$*" >>"$0.asked"\ncase "$*" in *update) exit 100 ;; esac\n')
            for file in folder.iterdir():
                file.chmod(0o755)
            _, said = machine.run(
                ["bash", "-euo", "pipefail", "-c", ". scripts/packages.sh; install_packages wanted"],
                cwd=machine.ROOT, env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
            )
            asked = (folder / "apt-get.asked").read_text().splitlines()
            self.assertEqual([line.split()[-1] for line in asked], ["update", "update", "update", "wanted"], asked)
            # Without this, apt says that all is well.
            self.assertIn("APT::Update::Error-Mode=any", asked[0])
            self.assertIn("not every list", said)


class Installed(unittest.TestCase):
    def setUp(self):
        self.machine = machine.Machine()
        self.addCleanup(self.machine.remove)

    def traces(self):
        """What of the package is anywhere on the machine."""
        root = self.machine.root
        (root / "package.deb").unlink(missing_ok=True)
        return sorted(
            str(path.relative_to(root)) for folder in ("etc", "usr", "var")
            for path in (root / folder).rglob("*fieldgate*") if "var/log" not in str(path) and "var/cache" not in str(path)
        )

    def test_program_runs_and_service_will_start(self):
        self.assertIn("fieldgate 0.", self.machine.chroot("fieldgate", "--version")[1])
        self.assertTrue(self.machine.path("etc/systemd/system/multi-user.target.wants/fieldgate.service").is_symlink())
        self.assertFalse(self.machine.path("etc/systemd/system/sockets.target.wants/fieldgate.socket").is_symlink())
        self.assertIn("fieldgate:", self.machine.path("etc/passwd").read_text())

    def test_configuration_of_the_operator_outlives_an_upgrade(self):
        self.machine.write("etc/fieldgate/gateway.toml", "# of the operator\n")
        self.machine.install()
        self.assertEqual(self.machine.path("etc/fieldgate/gateway.toml").read_text(), "# of the operator\n")

    def test_removed_package_keeps_configuration_and_state(self):
        self.machine.write("var/lib/fieldgate/gateway.db", "messages")
        self.machine.chroot("dpkg", "--remove", "fieldgate")
        self.assertFalse(self.machine.path("usr/bin/fieldgate").exists())
        self.assertTrue(self.machine.path("etc/fieldgate/gateway.toml").exists())
        self.assertTrue(self.machine.path("var/lib/fieldgate/gateway.db").exists())

    def test_purged_package_leaves_nothing(self):
        self.machine.write("var/lib/fieldgate/gateway.db", "messages")
        self.machine.write("etc/fieldgate/conf.d/50-setup.toml", "# made by setup\n")
        self.machine.write("etc/fieldgate/tls/x", "")
        self.machine.path("etc/fieldgate/tls/x").unlink()
        self.machine.chroot("dpkg", "--purge", "fieldgate")
        self.assertEqual(self.traces(), [])

    def test_purged_package_leaves_what_an_operator_has_put_there(self):
        self.machine.write("etc/fieldgate/conf.d/60-own.toml", "# of the operator\n")
        self.machine.chroot("dpkg", "--purge", "fieldgate")
        self.assertEqual(self.traces(), ["etc/fieldgate"])
        self.assertEqual([path.name for path in pathlib.Path(self.machine.path("etc/fieldgate/conf.d")).iterdir()], ["60-own.toml"])


if __name__ == "__main__":
    unittest.main()
