package config

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
)

const realLines = "it needs its BEGIN and END lines and real line breaks; a file, named in %s_FILE, is the easiest way."

// checkSigningPair checks the key pair to import: both or neither, of the
// configured algorithm, strong enough, and belonging together.
func (c *Config) checkSigningPair(p *Problems) {
	const privateVar, publicVar = "JWT__PRIVATE_KEY_PEM", "JWT__PUBLIC_KEY_PEM"
	j := c.JWT
	if p.unread[privateVar] || p.unread[publicVar] || j.PrivateKeyPEM == "" && j.PublicKeyPEM == "" {
		return
	}
	if j.PrivateKeyPEM == "" {
		p.add(privateVar, "is not set but %s is: set both or neither.", publicVar)
	}
	if j.PublicKeyPEM == "" {
		p.add(publicVar, "is not set but %s is: set both or neither.", privateVar)
	}
	private, errPrivate := parsePrivate(j.PrivateKeyPEM)
	public, errPublic := parsePublic(j.PublicKeyPEM)
	if errPrivate != nil && j.PrivateKeyPEM != "" {
		p.add(privateVar, "is not a private key in PEM: "+realLines, privateVar)
	}
	if errPublic != nil && j.PublicKeyPEM != "" {
		p.add(publicVar, "is not a public key in PEM: "+realLines, publicVar)
	}
	if errPrivate == nil && !p.unread["JWT__ALGORITHM"] {
		if wrong := unfit(private.Public(), j.Algorithm); wrong != "" {
			p.add(privateVar, "%s", wrong)
		}
	}
	if errPrivate == nil && errPublic == nil && !equalKeys(private.Public(), public) {
		p.add(publicVar, "does not belong to %s: make it with `openssl pkey -in private.pem -pubout`.", privateVar)
	}
}

// unfit says why a key cannot sign with the algorithm, "" if it can.
func unfit(key crypto.PublicKey, algorithm string) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if algorithm == "RS256" && k.N.BitLen() < 2048 {
			return "is shorter than 2048 bits: make one with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`."
		}
		if algorithm == "RS256" {
			return ""
		}
	case *ecdsa.PublicKey:
		if algorithm == "ES256" && k.Curve == elliptic.P256() {
			return ""
		}
	case ed25519.PublicKey:
		if algorithm == "EdDSA" {
			return ""
		}
	}
	return "is not a key for JWT__ALGORITHM=" + algorithm + ": RS256 needs RSA, ES256 needs P-256, EdDSA needs Ed25519."
}

var errNotKey = errors.New("not a key")

func parsePrivate(s Secret) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(s.Reveal()))
	if block == nil {
		return nil, errNotKey
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if signer, ok := k.(crypto.Signer); ok && err == nil {
		return signer, nil
	}
	return nil, errNotKey
}

func parsePublic(s Secret) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(s.Reveal()))
	if block == nil {
		return nil, errNotKey
	}
	if k, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
		return k, nil
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

func equalKeys(a, b crypto.PublicKey) bool {
	da, errA := x509.MarshalPKIXPublicKey(a)
	db, errB := x509.MarshalPKIXPublicKey(b)
	return errA == nil && errB == nil && bytes.Equal(da, db)
}

// checkSAMLKeys checks the certificates and the key of SAML. Identity
// providers hand out certificates with and without the BEGIN and END lines.
func checkSAMLKeys(p *Problems, s SAML) {
	certificate := func(name string, text Secret) *x509.Certificate {
		if text == "" {
			return nil
		}
		cert, err := x509.ParseCertificate(der(text))
		if err != nil {
			p.add(name, "is not a certificate: paste the PEM or base64 text of it.")
			return nil
		}
		return cert
	}
	certificate("SAML__IDP_X509_CERT", s.IDPX509Cert)
	cert := certificate("SAML__SP_X509_CERT", s.SPX509Cert)
	if (s.SPX509Cert == "") != (s.SPPrivateKey == "") {
		p.add("SAML__SP_X509_CERT", "and SAML__SP_PRIVATE_KEY belong together: set both or neither.")
	}
	if s.SPPrivateKey == "" {
		return
	}
	text := s.SPPrivateKey
	if !strings.Contains(text.Reveal(), "-----BEGIN") {
		text = Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der(text)}))
	}
	key, err := parsePrivate(text)
	if err != nil {
		p.add("SAML__SP_PRIVATE_KEY", "is not a private key: paste the PEM or base64 text of it.")
	} else if cert != nil && !equalKeys(key.Public(), cert.PublicKey) {
		p.add("SAML__SP_PRIVATE_KEY", "does not belong to SAML__SP_X509_CERT.")
	}
}

// der decodes PEM or bare base64.
func der(s Secret) []byte {
	if block, _ := pem.Decode([]byte(s.Reveal())); block != nil {
		return block.Bytes
	}
	b, _ := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s.Reveal()), ""))
	return b
}
