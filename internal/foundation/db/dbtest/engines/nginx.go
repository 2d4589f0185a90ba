package engines

import (
	"os"
	"os/exec"
)

// NginxVariable names the nginx binary for the tests that put a proxy in front
// of authd; off leaves it out.
const NginxVariable = "AUTHD_TEST_NGINX"

// Nginx returns the path of nginx, installing it as locate does.
func Nginx() (path string, err error) {
	switch set := os.Getenv(NginxVariable); set {
	case "":
	case "off":
		return "", leftOut("nginx", NginxVariable)
	default:
		return set, nil
	}
	return locate("nginx", NginxVariable, "nginx-light", func() (string, bool) {
		for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
			if path, err := exec.LookPath(name); err == nil {
				return path, true
			}
		}
		return "", false
	})
}
