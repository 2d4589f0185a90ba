module github.com/authsdk/authsdk/examples

go 1.26.0

require github.com/authsdk/authsdk/sdk/go/authsdk v0.0.0

replace github.com/authsdk/authsdk/sdk/go/authsdk => ../sdk/go/authsdk
