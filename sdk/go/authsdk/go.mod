module github.com/authsdk/authsdk/sdk/go/authsdk

go 1.25
