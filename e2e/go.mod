module github.com/authsdk/authsdk/e2e

go 1.26.0
