package engines

import (
	"os"
	"os/exec"
)

// ChromiumVariable names the Chromium binary for the tests that drive a page; off
// leaves it out.
const ChromiumVariable = "AUTHD_TEST_CHROMIUM"

// Chromium returns the path of Chromium, installing it as locate does.
func Chromium() (path string, err error) {
	switch set := os.Getenv(ChromiumVariable); set {
	case "":
	case "off":
		return "", leftOut("Chromium", ChromiumVariable)
	default:
		return set, nil
	}
	return locate("Chromium", ChromiumVariable, "chromium", func() (string, bool) {
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if path, err := exec.LookPath(name); err == nil {
				return path, true
			}
		}
		return "", false
	})
}
