package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/strvals"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

type manifests struct {
	Notes   string
	Objects []json.RawMessage
}

// chart renders a chart for a first installation, as release "authd" in
// namespace "auth". Values are held against values.schema.json, and every
// object against the types of Kubernetes: an unknown field is an error.
func chart(args []string) (any, error) {
	flags := flag.NewFlagSet("chart", flag.ContinueOnError)
	values := map[string]any{}
	flags.Func("set", "a value, as helm --set", func(s string) error { return strvals.ParseInto(s, values) })
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	c, err := loader.Load(flags.Arg(0))
	if err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	release := common.ReleaseOptions{Name: "authd", Namespace: "auth", IsInstall: true, Revision: 1}
	all, err := util.ToRenderValues(c, values, release, nil)
	if err != nil {
		return nil, err
	}
	// Strict: a misspelt value is an error, not an empty string.
	rendered, err := engine.Engine{Strict: true}.RenderWithContext(context.Background(), c, all)
	if err != nil {
		return nil, err
	}
	decode, err := strictDecoder()
	if err != nil {
		return nil, err
	}
	var seen manifests
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		if strings.HasSuffix(name, "NOTES.txt") {
			seen.Notes = rendered[name]
			continue
		}
		for document := range strings.SplitSeq("\n"+rendered[name], "\n---\n") {
			if strings.TrimSpace(document) == "" {
				continue
			}
			object, err := decode([]byte(document))
			if err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, document)
			}
			text, err := json.Marshal(object)
			if err != nil {
				return nil, err
			}
			seen.Objects = append(seen.Objects, text)
		}
	}
	return seen, nil
}

func strictDecoder() (func(document []byte) (runtime.Object, error), error) {
	known := runtime.NewScheme()
	err := errors.Join(
		appsv1.AddToScheme(known), autoscalingv2.AddToScheme(known), batchv1.AddToScheme(known),
		corev1.AddToScheme(known), networkingv1.AddToScheme(known), policyv1.AddToScheme(known))
	decoder := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	return func(document []byte) (runtime.Object, error) {
		object, _, err := decoder.Decode(document, nil, nil)
		return object, err
	}, err
}
