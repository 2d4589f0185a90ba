//go:build unix

package deploy

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestComposeIsHardenedAndComplete(t *testing.T) {
	project := deploycheck(t, "compose", "compose.yaml")
	services := project.(map[string]any)["services"].(map[string]any)
	if want := []string{"authd", "mailpit", "postgres", "redis", "worker"}; !slices.Equal(slices.Sorted(maps.Keys(services)), want) {
		t.Fatalf("services are %v, want %v", slices.Sorted(maps.Keys(services)), want)
	}
	published := map[string]string{"authd": "8000", "mailpit": "8025"}
	for name, service := range services {
		t.Run(name, func(t *testing.T) {
			expect(t, service, map[string]string{"restart": `"unless-stopped"`})
			if at(service, "healthcheck.test") == nil {
				t.Error("no health check")
			}
			ports, _ := at(service, "ports").([]any)
			if want := published[name]; want == "" && len(ports) > 0 || want != "" && len(ports) != 1 {
				t.Fatalf("published ports: %v", ports)
			}
			for _, port := range ports {
				expect(t, port, map[string]string{"host_ip": `"127.0.0.1"`, "published": `"` + published[name] + `"`})
			}
		})
	}
	for _, name := range []string{"authd", "worker"} {
		expect(t, services[name], map[string]string{
			"image": `"authd:local"`, "read_only": "true", "cap_drop.0": `"ALL"`,
			"depends_on.postgres.condition": `"service_healthy"`, "depends_on.redis.condition": `"service_healthy"`,
			"environment.APP__ENVIRONMENT": `"development"`, "environment.APP__HOST": `"0.0.0.0"`,
			"environment.DEV__MAILBOX_PUBLIC": `"true"`, "environment.EMAIL__SMTP_HOST": `"mailpit"`,
		})
	}
	expect(t, services, map[string]string{
		"authd.command": `["serve","--migrate"]`, "authd.build.dockerfile": `"deploy/Dockerfile"`,
		"worker.build": "null", "worker.pull_policy": `"never"`, "worker.depends_on.authd.condition": `"service_healthy"`,
	})
	known := settings(t)
	var environ []string
	for name, value := range at(services, "authd.environment").(map[string]any) {
		if known[name] == "" {
			t.Errorf("%s is no setting of authd", name)
		}
		environ = append(environ, name+"="+value.(string))
	}
	if out, err := theImage(t).run(environ, "config", "check"); err != nil {
		t.Errorf("authd refuses the environment of compose.yaml: %s", out)
	}
}

const chart = "helm/authd"

// required are the values that the chart has no default for.
var required = []string{
	"-set", "existingSecret=authd-secrets", "-set", "config.APP__ALLOWED_HOSTS={auth.example.com}",
	"-set", "config.EMAIL__PUBLIC_BASE_URL=https://auth.example.com", "-set", "config.EMAIL__EMAIL_FROM=auth@example.com",
	"-set", "config.EMAIL__SMTP_HOST=smtp.example.com",
}

// render returns the objects of the chart by kind.
func render(t *testing.T, sets ...string) (byKind map[string]any, notes string) {
	t.Helper()
	args := slices.Clone(required)
	for _, set := range sets {
		args = append(args, "-set", set)
	}
	seen := deploycheck(t, "chart", append(args, chart)...)
	byKind = map[string]any{}
	for _, object := range at(seen, "Objects").([]any) {
		byKind[at(object, "kind").(string)] = object
	}
	notes, _ = at(seen, "Notes").(string)
	return byKind, notes
}

func TestChartByDefault(t *testing.T) {
	objects, notes := render(t)
	want := []string{"ConfigMap", "Deployment", "Job", "PodDisruptionBudget", "Service", "ServiceAccount"}
	if got := slices.Sorted(maps.Keys(objects)); !slices.Equal(got, want) {
		t.Errorf("objects are %v, want %v", got, want)
	}
	if !strings.Contains(notes, "rollout status deployment/authd") {
		t.Errorf("the notes do not say how to see whether it works: %q", notes)
	}
	for kind, template := range map[string]string{"Deployment": "authd", "Job": "migrate"} {
		pod := at(objects[kind], "spec.template.spec")
		expect(t, pod, map[string]string{
			"securityContext.runAsNonRoot": "true", "securityContext.runAsUser": "10001",
			"securityContext.seccompProfile.type":                   `"RuntimeDefault"`,
			"automountServiceAccountToken":                          "false",
			"containers.0.name":                                     `"` + template + `"`,
			"containers.0.securityContext.readOnlyRootFilesystem":   "true",
			"containers.0.securityContext.allowPrivilegeEscalation": "false",
			"containers.0.securityContext.capabilities.drop":        `["ALL"]`,
			"containers.0.resources.limits.memory":                  `"512Mi"`,
		})
	}
	expect(t, objects["Deployment"], map[string]string{
		"spec.replicas": "2", "spec.strategy.rollingUpdate.maxUnavailable": "0",
		"spec.selector.matchLabels.app:kubernetes:io/name":                `"authd"`,
		"spec.template.metadata.labels.app:kubernetes:io/name":            `"authd"`,
		"spec.template.spec.terminationGracePeriodSeconds":                "35",
		"spec.template.spec.containers.0.args":                            `["serve"]`,
		"spec.template.spec.containers.0.ports.0.containerPort":           "8000",
		"spec.template.spec.containers.0.envFrom.0.configMapRef.name":     `"authd"`,
		"spec.template.spec.containers.0.envFrom.1.secretRef.name":        `"authd-secrets"`,
		"spec.template.spec.containers.0.livenessProbe.httpGet.path":      `"/health/live"`,
		"spec.template.spec.containers.0.readinessProbe.httpGet.path":     `"/health/ready"`,
		"spec.template.spec.containers.0.lifecycle.preStop.sleep.seconds": "5",
	})
	expect(t, objects["Job"], map[string]string{
		"metadata.annotations.helm:sh/hook":                        `"pre-install,pre-upgrade"`,
		"metadata.annotations.helm:sh/hook-delete-policy":          `"before-hook-creation,hook-succeeded"`,
		"spec.template.metadata.labels.app:kubernetes:io/name":     `"authd-migrate"`, // not what the Service selects
		"spec.template.spec.restartPolicy":                         `"Never"`,
		"spec.template.spec.containers.0.args":                     `["migrate","up"]`,
		"spec.template.spec.containers.0.envFrom.0.secretRef.name": `"authd-secrets"`,
	})
	expect(t, objects["Service"], map[string]string{
		"spec.type": `"ClusterIP"`, "spec.ports.0.port": "80", "spec.ports.0.targetPort": `"http"`,
		"spec.selector.app:kubernetes:io/name": `"authd"`,
	})
	expect(t, objects["PodDisruptionBudget"], map[string]string{"spec.maxUnavailable": "1"})
}

// A pod gets the ConfigMap and the Secret, the job the same written out.
func TestChartStartsAuthd(t *testing.T) {
	objects, _ := render(t)
	known := settings(t)
	environ := productionSecrets()
	for name, value := range at(objects["ConfigMap"], "data").(map[string]any) {
		if known[name] == "" {
			t.Errorf("%s is no setting of authd", name)
		}
		environ = append(environ, name+"="+value.(string))
	}
	if out, err := theImage(t).run(environ, "config", "check"); err != nil {
		t.Errorf("authd refuses the environment of a pod: %s", out)
	}
	inJob := productionSecrets()
	for _, variable := range at(objects["Job"], "spec.template.spec.containers.0.env").([]any) {
		inJob = append(inJob, at(variable, "name").(string)+"="+at(variable, "value").(string))
	}
	slices.Sort(environ)
	slices.Sort(inJob)
	if !slices.Equal(environ, inJob) {
		t.Errorf("the job's settings are\n%v\nthose of the pods\n%v", inJob, environ)
	}
}

func TestChartWithEverythingOn(t *testing.T) {
	objects, _ := render(t, "ingress.enabled=true", "ingress.className=nginx", "ingress.hosts[0].host=auth.example.com",
		"ingress.hosts[0].paths[0].path=/", "ingress.hosts[0].paths[0].pathType=Prefix",
		"ingress.tls[0].secretName=tls", "ingress.tls[0].hosts={auth.example.com}", "ingress.annotations.a=b",
		"autoscaling.enabled=true", "serviceAccount.annotations.a=b", "imagePullSecrets[0].name=pull",
		"podAnnotations.a=b", "podLabels.a=b", "nodeSelector.a=b", "tolerations[0].operator=Exists", "priorityClassName=high",
		"affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1", "service.annotations.a=b",
		"config.APP__PORT=9000", "config.RATE_LIMIT__DEFAULT_REQUESTS_PER_MINUTE=1000000",
		"image.digest=sha256:"+strings.Repeat("a", 64), "fullnameOverride=login")
	expect(t, objects, map[string]string{
		"Ingress.spec.rules.0.http.paths.0.backend.service.name":           `"login"`,
		"HorizontalPodAutoscaler.spec.scaleTargetRef.name":                 `"login"`,
		"Deployment.spec.replicas":                                         "null",
		"Deployment.spec.template.spec.containers.0.ports.0.containerPort": "9000",
		"Deployment.spec.template.spec.containers.0.image":                 `"ghcr.io/authsdk/authd@sha256:` + strings.Repeat("a", 64) + `"`,
		"ConfigMap.data.RATE_LIMIT__DEFAULT_REQUESTS_PER_MINUTE":           `"1000000"`,
		"ConfigMap.data.APP__PORT":                                         `"9000"`,
		"Job.metadata.name":                                                `"login-migrate"`,
	})
	objects, _ = render(t, "migrate.enabled=false", "podDisruptionBudget.enabled=false", "serviceAccount.create=false")
	if got, want := slices.Sorted(maps.Keys(objects)), []string{"ConfigMap", "Deployment", "Service"}; !slices.Equal(got, want) {
		t.Errorf("with everything off the objects are %v, want %v", got, want)
	}
}

func TestChartRefuses(t *testing.T) {
	tests := []struct{ name, set, want string }{
		{"no secret", "existingSecret=", "existingSecret"},
		{"no host", "config.APP__ALLOWED_HOSTS=", "APP__ALLOWED_HOSTS"},
		{"an address without TLS", "config.EMAIL__PUBLIC_BASE_URL=http://auth.example.com", "EMAIL__PUBLIC_BASE_URL"},
		{"development", "config.APP__ENVIRONMENT=development", "APP__ENVIRONMENT"},
		{"a secret among the settings", "config.DATABASE__URL=postgres://a:b@c/d", "DATABASE__URL"},
		{"a misspelt value", "replicas=3", "replicas"},
		{"an ingress without a host", "ingress.enabled=true", "hosts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append(slices.Clone(required), "-set", tt.set, chart)
			_, err := deploycheckFails(t, "chart", args...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error that names %s", err, tt.want)
			}
		})
	}
}

func TestChartKnowsAllSecrets(t *testing.T) {
	schema := deploycheck(t, "yaml", chart+"/values.schema.json") // JSON is YAML
	var refused, secrets []string
	for _, name := range at(schema, "properties.config.propertyNames.not.enum").([]any) {
		refused = append(refused, name.(string))
	}
	for name, kind := range settings(t) {
		if isSecret(kind) && strings.Contains(name, "__") { // the pattern refuses the others
			secrets = append(secrets, name)
		}
	}
	slices.Sort(refused)
	slices.Sort(secrets)
	if !slices.Equal(refused, secrets) {
		t.Errorf("config in values.schema.json refuses\n%v\nthe secrets in docs/reference/config.md are\n%v", refused, secrets)
	}
}

func TestSystemdUnit(t *testing.T) {
	const unit = "systemd/authd.service"
	text := read(t, unit)
	for _, line := range []string{
		"ExecStart=/usr/local/bin/authd serve", "Environment=APP__ENVIRONMENT=production",
		"EnvironmentFile=-/etc/authd/authd.env", "Restart=on-failure", "DynamicUser=yes", "StateDirectory=authd",
		"ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "WantedBy=multi-user.target",
	} {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("the unit lacks %s", line)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	// It wants the program to be there.
	installed := filepath.Join(t.TempDir(), "authd.service")
	text = strings.ReplaceAll(text, "/usr/local/bin/authd", "/bin/true")
	if err := os.WriteFile(installed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", installed).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// 0 is fully confined, 10 not at all; network access alone costs about 1.
	if out, err := exec.Command(analyze, "security", "--offline=yes", "--threshold=15", installed).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

const workflows = "../.github/workflows/"

func TestActionlint(t *testing.T) {
	track(t, "../.github")
	// shellcheck and pyflakes are off: what is installed here must not decide.
	if _, err := tool(t, "actionlint", "-no-color", "-shellcheck=", "-pyflakes=", workflows+"ci.yml", workflows+"release.yml"); err != nil {
		t.Error(err)
	}
}

func TestChecksNeedEveryJob(t *testing.T) {
	jobs := at(deploycheck(t, "yaml", workflows+"ci.yml"), "jobs").(map[string]any)
	var needed []string
	for _, name := range at(jobs, "checks.needs").([]any) {
		needed = append(needed, name.(string))
	}
	for name := range jobs {
		if name != "checks" && !slices.Contains(needed, name) {
			t.Errorf("job checks does not wait for %s, so a failure of it would pass", name)
		}
	}
	expect(t, jobs, map[string]string{"checks.if": `"always()"`})
}

func TestNothingIsPublishedBeforeItIsChecked(t *testing.T) {
	release := deploycheck(t, "yaml", workflows+"release.yml")
	expect(t, release, map[string]string{
		"jobs.ci.uses": `"./.github/workflows/ci.yml"`, "permissions": `{"contents":"read"}`,
		"jobs.image.needs": `["ci","vulnerabilities"]`, "jobs.binaries.needs": `["ci","vulnerabilities"]`,
		"jobs.go-sdk.needs": `["image","binaries"]`,
		"on.workflow_dispatch.inputs.image_name.default":     `"authd"`,
		"on.workflow_dispatch.inputs.publish_latest.default": "false",
	})
}

func TestWorkflowsRunWhatIsThere(t *testing.T) {
	targets := regexp.MustCompile(`(?m)^([a-z0-9-]+):.*## `).FindAllStringSubmatch(read(t, "../Makefile"), -1)
	for _, file := range []string{"ci.yml", "release.yml"} {
		text := read(t, workflows+file)
		for _, run := range regexp.MustCompile(`run: make ([a-z0-9-]+)`).FindAllStringSubmatch(text, -1) {
			if !slices.ContainsFunc(targets, func(t []string) bool { return t[1] == run[1] }) {
				t.Errorf("%s runs make %s, which the Makefile does not have", file, run[1])
			}
		}
		for _, uses := range regexp.MustCompile(`uses: (\S+)`).FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`^\./|@(v\d+|[0-9a-f]{40})$`).MatchString(uses[1]) {
				t.Errorf("%s uses %s: pin a major version or a commit", file, uses[1])
			}
		}
	}
}

func TestDependabotSeesEveryModule(t *testing.T) {
	var modules []string
	for _, pattern := range []string{"../go.mod", "../*/go.mod", "../*/*/go.mod", "../*/*/*/go.mod"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			modules = append(modules, strings.TrimPrefix(filepath.Dir(name), ".."))
		}
	}
	config := deploycheck(t, "yaml", "../.github/dependabot.yml")
	var seen []string
	for _, folder := range at(config, "updates.0.directories").([]any) {
		seen = append(seen, strings.TrimSuffix(folder.(string), "/"))
	}
	slices.Sort(modules)
	slices.Sort(seen)
	if !slices.Equal(modules, seen) {
		t.Errorf("dependabot looks at %v, modules are in %v", seen, modules)
	}
}
