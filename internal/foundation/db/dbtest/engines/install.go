package engines

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

const installVariable = "AUTHD_TEST_INSTALL"

// locate finds a server's binary. If it is missing and we may, it installs the
// Debian package; the error says in one line what else the developer can do.
func locate(engine, variable, debianPackage string, find func() (string, bool)) (string, error) {
	if path, found := find(); found {
		return path, nil
	}
	aptGet, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 || os.Getenv(installVariable) == "0" {
		return "", fmt.Errorf("%s is not installed: install the package %s, or set %s to the URL of a server, or to off to test without one", engine, debianPackage, variable)
	}
	unlock, err := lock(aptGet)
	if err != nil {
		return "", err
	}
	defer unlock()
	if path, found := find(); found { // another test process was faster
		return path, nil
	}
	if err := install(aptGet, engine, debianPackage); err != nil {
		return "", err
	}
	if path, found := find(); found {
		return path, nil
	}
	return "", fmt.Errorf("the package %s is installed, yet no %s is found", debianPackage, engine)
}

// install leaves alone what else the package does, such as starting a server on
// the standard port: switching that off would change the machine further.
func install(aptGet, engine, debianPackage string) error {
	fmt.Fprintf(os.Stderr, "The tests need %s: installing the package %s with apt-get (%s=0 forbids it).\n", engine, debianPackage, installVariable)
	updated := apt(aptGet, "update")
	err := apt(aptGet, "install", "-y", "--no-install-recommends", debianPackage)
	if err != nil && updated != nil {
		return fmt.Errorf("%w (and before that: %w)", err, updated)
	}
	return err // one broken package source among many need not matter
}

func apt(aptGet string, args ...string) error {
	cmd := exec.Command(aptGet, append([]string{"-q", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("apt-get %s: %w: %s", strings.Join(args, " "), err, lines[len(lines)-1])
	}
	return nil
}

// lock makes test processes that start at once install in turn. The lock is on
// a file that exists anyway, so nothing is left behind.
func lock(path string) (unlock func() error, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return file.Close, nil
}
