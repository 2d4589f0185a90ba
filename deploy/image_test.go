//go:build unix

package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// image is the last stage of the Dockerfile as a folder.
type image struct{ root string }

const testVersion = "v0.0.0-test"

var (
	buildOnce sync.Once
	built     image
)

func TestMain(m *testing.M) {
	code := m.Run()
	if built.root != "" {
		os.RemoveAll(filepath.Dir(built.root))
	}
	os.Exit(code)
}

// theImage does what the Dockerfile says, without Docker: the files that
// .dockerignore lets through, the commands of the first stage, the copies of the
// last.
func theImage(t *testing.T) image {
	t.Helper()
	buildOnce.Do(func() { built = buildImage(t) })
	if built.root == "" {
		t.Skip("the image could not be built")
	}
	return built
}

func buildImage(t *testing.T) image {
	stages := deploycheck(t, "dockerfile", "Dockerfile")
	for _, folder := range []string{"../cmd", "../internal", "../ui"} {
		track(t, folder)
	}
	sent := deploycheck(t, "context", "Dockerfile.dockerignore", "..").([]any)

	work, err := os.MkdirTemp("", "authd-image")
	if err != nil {
		t.Fatal(err)
	}
	src, out, root := filepath.Join(work, "src"), filepath.Join(work, "out"), filepath.Join(work, "root")
	for _, folder := range []string{src, out, root} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range sent {
		copyFile(t, filepath.Join("..", name.(string)), filepath.Join(src, name.(string)))
	}
	environ := append(os.Environ(), "VERSION="+testVersion, "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH)
	for _, i := range at(stages, "0.Instructions").([]any) {
		args, _ := at(i, "Args").([]any)
		switch at(i, "Name") {
		case "ENV":
			for _, pair := range args {
				environ = append(environ, pair.(string))
			}
		case "RUN":
			cmd := exec.Command("sh", "-ec", strings.ReplaceAll(args[0].(string), "/out/", out+"/"))
			cmd.Dir, cmd.Env = src, environ
			if text, err := cmd.CombinedOutput(); err != nil {
				os.RemoveAll(work)
				t.Fatalf("%s: %v\n%s", at(i, "Text"), err, text)
			}
		}
	}
	copyFile(t, filepath.Join(out, "authd"), filepath.Join(root, "authd"))
	if err := os.CopyFS(filepath.Join(root, "var/lib/authd"), os.DirFS(filepath.Join(out, "home"))); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(root, "var/lib/authd"), 10001, 10001); err != nil {
			t.Fatal(err)
		}
	}
	return image{root}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, info.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
}

// command runs authd with this environment only. As root it really is alone in
// its file system, as user 10001: what a static binary on scratch has to bear.
func (i image) command(environ []string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(i.root, "authd"), args...)
	cmd.Dir = filepath.Join(i.root, "var/lib/authd")
	cmd.Env = append([]string{"APP__ENVIRONMENT=production"}, environ...)
	if os.Geteuid() == 0 {
		cmd.Path, cmd.Dir = "/authd", "/var/lib/authd"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: i.root, Credential: &syscall.Credential{Uid: 10001, Gid: 10001}}
	}
	return cmd
}

func (i image) run(environ []string, args ...string) (output string, err error) {
	out, err := i.command(environ, args...).CombinedOutput()
	return string(out), err
}

// productionSecrets are what an operator must make.
func productionSecrets() []string {
	return []string{
		"DATABASE__URL=sqlite://authd-data/authd.db",
		"SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY=3mVd0sXnC8yqLk5RZbTg7WfHj2PaEu9x",
		"SIGNING_KEYS__ENCRYPTION_KEY=Jt6QwYv1NhGc4MzKe8BxSa3DfLp0UrVo",
		"WEBHOOK__SECRET_ENCRYPTION_KEY=pZ9bRk2TdXu7CmHs5WgQy1EaNf8LvJo4",
	}
}

func TestDockerfile(t *testing.T) {
	stages := deploycheck(t, "dockerfile", "Dockerfile")
	text := read(t, "Dockerfile")
	for _, line := range []string{
		"USER 10001:10001", "ENV APP__ENVIRONMENT=production", "EXPOSE 8000", `ENTRYPOINT ["/authd"]`, `CMD ["serve"]`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the Dockerfile lacks %s", line)
		}
	}
	if !strings.Contains(text, `CMD ["/authd", "healthcheck"]`) {
		t.Error("the image does not check its health")
	}
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))[1]
	expect(t, stages, map[string]string{"0.Base": `"golang:` + language + `"`, "1.Base": `"scratch"`})
}

func TestBuildContextHasNoSecrets(t *testing.T) {
	for _, name := range deploycheck(t, "context", "Dockerfile.dockerignore", "..").([]any) {
		first, _, _ := strings.Cut(name.(string), "/")
		switch first {
		case "go.mod", "go.sum", "cmd", "internal", "ui":
		default:
			t.Errorf("%s is sent to the build", name)
		}
		if base := filepath.Base(name.(string)); strings.HasPrefix(base, ".env") || strings.HasSuffix(base, "_test.go") {
			t.Errorf("%s is sent to the build", name)
		}
	}
}

func TestImageSaysItsVersion(t *testing.T) {
	out, err := theImage(t).run(nil, "version")
	if err != nil || !strings.HasPrefix(out, "authd "+testVersion+" (go") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestImageHealthcheckFailsClearly(t *testing.T) {
	out, err := theImage(t).run([]string{"APP__PORT=1"}, "healthcheck")
	if err == nil || !strings.Contains(out, "no answer") || strings.Count(out, "\n") != 1 {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestImageRefusesAllThatIsUnsafe(t *testing.T) {
	out, err := theImage(t).run(nil, "serve")
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit code 1", err)
	}
	for _, name := range []string{
		"APP__ALLOWED_HOSTS", "SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY", "SIGNING_KEYS__ENCRYPTION_KEY",
		"WEBHOOK__SECRET_ENCRYPTION_KEY", "EMAIL__SMTP_HOST", "EMAIL__PUBLIC_BASE_URL",
	} {
		if !strings.Contains(out, name) {
			t.Errorf("%s is not named in: %s", name, out)
		}
	}
}

func TestImageServesUntilStopped(t *testing.T) {
	i := theImage(t)
	environ := append(productionSecrets(), fmt.Sprintf("APP__PORT=%d", freePort(t)), `APP__ALLOWED_HOSTS=["auth.example.com"]`,
		"EMAIL__PUBLIC_BASE_URL=https://auth.example.com", "EMAIL__EMAIL_FROM=auth@example.com", "EMAIL__SMTP_HOST=smtp.example.com")
	var log bytes.Buffer
	server := i.command(environ, "serve")
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() { server.Process.Kill() })

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for out, err := "", errors.New("not asked"); err != nil; out, err = i.run(environ, "healthcheck") {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v\n%s", err, &log)
		case <-ctx.Done():
			t.Fatalf("it does not become healthy: %s", out)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("stopped with %v\n%s", err, &log)
		}
	case <-ctx.Done():
		t.Error("it does not stop")
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
